//! What a disk does for its driver.

mod full;
mod give_way;
mod guest;
mod host;
mod hostile;
mod images;
mod lifecycle;
mod opening;
mod qcow2;
mod serving;
mod settle;
