//! The pool of now, ready for decisions, and the file that others decide from.

use std::path::PathBuf;

use pool::inventory::Inventory;

use crate::app::App;
use crate::clock;
use crate::contract::SavedInventory;
use crate::error::AppError;
use crate::pool::PastCarried;

/// The pool of now as one document: what a dump holds, and what every decision is made from.
pub(crate) fn inventory_now(app: &App, past: PastCarried) -> Inventory {
    let now = clock::now();
    app.pool().read(|picture| picture.inventory(now, past))
}

/// The same, ready for decisions.
pub(crate) fn pool_of(inventory: &Inventory) -> Result<pool::Pool, AppError> {
    Ok(pool::Pool::new(inventory, inventory.taken_at_s)?)
}

/// Writes the pool's inventory into a file of its own that `host-runner plan` reads, where the person's downloads are.
pub(crate) async fn save_inventory(app: &App) -> Result<SavedInventory, AppError> {
    let inventory = inventory_now(app, PastCarried::Whole);
    let text = serde_json::to_string_pretty(&inventory)?;
    let taken_at = clock::now().0.strftime("%Y-%m-%d-%H%M%S");
    let path = folder(app).join(format!("millpond-inventory-{taken_at}.json"));
    tokio::fs::write(&path, text)
        .await
        .map_err(|err| AppError::WriteFile {
            path: path.clone(),
            err,
        })?;
    Ok(SavedInventory {
        path: path.display().to_string(),
    })
}

/// The person's downloads where they have such a folder, else where this desktop keeps its own data.
fn folder(app: &App) -> PathBuf {
    let downloads = std::env::home_dir().map(|home| home.join("Downloads"));
    downloads
        .filter(|folder| folder.is_dir())
        .unwrap_or_else(|| app.data_dir().to_owned())
}
