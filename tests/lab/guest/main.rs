//! What the guest of the tests in the lab runs beside `BusyBox`: what needs registers, or sockets that a shell does not have.
//!
//! ```text
//! lab-guest frames FILE                   prints how many pages of a file lie above 4 GiB
//! lab-guest hostile FIRST COUNT MEMORY    attacks COUNT virtio devices, whose registers begin at FIRST, with rings in MEMORY
//! lab-guest sweep PROCESSOR               reads and writes what ports and model-specific registers there are, and many that there are not
//! lab-guest queue-stats INTERFACE         prints what the queues of a network interface have done
//! lab-guest queue-pairs INTERFACE COUNT   has its driver use so many pairs of queues
//! lab-guest vsock-echo PORT               answers one connection from the host with what it says, in capitals
//! lab-guest vsock-say PORT WORD           says a word to the host, and prints the answer
//! lab-guest vsock-tell PORT LINE…         tells the host some lines
//! ```

mod ethtool;
mod flight;
mod frames;
mod hostile;
mod registers;
mod ring;
mod sweep;
mod vsock;

use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match perform(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("lab-guest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn perform(words: &[&str]) -> Result<(), Box<dyn Error>> {
    match words {
        ["frames", file] => frames::print(file),
        ["hostile", first, count, memory] => {
            hostile::attack(address(first)?, count.parse()?, address(memory)?)
        }
        ["sweep", processor] => sweep::sweep(processor.parse()?),
        ["queue-stats", interface] => ethtool::print_stats(interface),
        ["queue-pairs", interface, count] => ethtool::set_pairs(interface, count.parse()?),
        ["vsock-echo", port] => vsock::echo(port.parse()?),
        ["vsock-say", port, word] => vsock::say(port.parse()?, word),
        ["vsock-tell", port, lines @ ..] => vsock::tell(port.parse()?, lines),
        _ => Err("no such work".into()),
    }
}

fn address(word: &str) -> Result<u64, Box<dyn Error>> {
    let digits = word.strip_prefix("0x").ok_or("an address begins with 0x")?;
    Ok(u64::from_str_radix(digits, 16)?)
}
