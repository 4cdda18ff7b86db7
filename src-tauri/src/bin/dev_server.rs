//! The window's commands over HTTP on loopback, with the window's page: the app in a browser, for its tests and its developers.
//!
//! It prints the link to open; without the token in it nobody gets in.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use api::client::ssh::SshOptions;
use clap::Parser;
use millpond::app::App;
use millpond::cli::{CommonOptions, asked_to_end};
use millpond::http::Access;
use millpond::machines::{LocalAgent, RealDial};
use tokio::net::TcpListener;

/// Serves the window to a browser on this computer.
#[derive(Debug, Parser)]
#[command(name = "millpond-dev-server", version)]
struct Options {
    #[command(flatten)]
    common: CommonOptions,
    /// The TCP port on 127.0.0.1; 0 takes a free one
    #[arg(long, env = "MILLPOND_DEV_PORT", default_value_t = 4170)]
    port: u16,
    /// The folder with the built page
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../ui/dist"))]
    page: PathBuf,
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    options.common.start_logging();
    match serve(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millpond-dev-server: {}", millpond::error::with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<(), Failure> {
    let data_dir = options.common.data_dir()?;
    let local = LocalAgent::from_environment(data_dir.join("host-runner.log"));
    let dial = Arc::new(RealDial::new(local, SshOptions::from_environment()));
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, options.port))).await?;
    let app = App::start(&data_dir, dial).await?;
    let access = Access::generate(listener.local_addr()?.port());
    println!("millpond-dev-server listening on {}", access.link());
    let router = millpond::http::router(Arc::clone(&app), &options.page, access);
    let ending = Arc::clone(&app);
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            asked_to_end().await;
            ending.shut_down().await;
        })
        .await;
    app.shut_down().await;
    Ok(served?)
}
