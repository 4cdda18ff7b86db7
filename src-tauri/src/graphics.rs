//! What the page is drawn with.

use tauri::WebviewWindow;

/// Lets the CPU draw the page by itself where this computer has no graphics device.
///
/// WebKit would use OpenGL all the same, imitated by the CPU, and compile a program for every kind of shape before it is first drawn:
/// several times as long to the first frame, and no frame after it is any faster.
///
/// # Errors
///
/// When the window has gone already.
#[cfg(target_os = "linux")]
pub fn suit(window: &WebviewWindow) -> tauri::Result<()> {
    use webkit2gtk::{HardwareAccelerationPolicy, SettingsExt as _, WebViewExt as _};

    if has_graphics_device() {
        return Ok(());
    }
    tracing::debug!("there is no graphics device: the CPU draws the page");
    window.with_webview(|page| {
        if let Some(settings) = page.inner().settings() {
            settings.set_hardware_acceleration_policy(HardwareAccelerationPolicy::Never);
        }
    })
}

/// Elsewhere the system's own web view knows best.
#[cfg(not(target_os = "linux"))]
pub fn suit(_window: &WebviewWindow) -> tauri::Result<()> {
    Ok(())
}

/// Whether a device for drawing is there: the kernel's own, Nvidia's, or Windows' in its subsystem for Linux.
#[cfg(target_os = "linux")]
fn has_graphics_device() -> bool {
    let render_node = std::fs::read_dir("/dev/dri").is_ok_and(|mut devices| {
        devices.any(|device| {
            device.is_ok_and(|device| device.file_name().as_encoded_bytes().starts_with(b"renderD"))
        })
    });
    render_node
        || ["/dev/nvidia0", "/dev/dxg"]
            .iter()
            .any(|device| std::path::Path::new(device).exists())
}
