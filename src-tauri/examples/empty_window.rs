//! An empty Tauri window that prints `drawn` when its page is drawn: what the app's start is measured against.

fn main() {
    let built = tauri::Builder::default()
        .invoke_handler(tauri::generate_handler![window_drawn])
        .build(tauri::generate_context!("examples/empty-window/tauri.conf.json"));
    match built {
        Ok(window) => window.run(|_, _| {}),
        Err(error) => eprintln!("empty_window: {error}"),
    }
}

#[tauri::command]
fn window_drawn() {
    println!("drawn");
}
