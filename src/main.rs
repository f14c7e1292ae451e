//! Arguments → `Config` → `Server::run`. Nothing else.

use std::io::Read;
use std::process::ExitCode;

#[cfg(not(feature = "sanitizer"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(feature = "sanitizer")]
#[global_allocator]
static ALLOCATOR: gyre::system::memory::Counted = gyre::system::memory::Counted;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let args: Vec<std::ffi::OsString> = args.collect();
    if let Some(status) = gyre::server::tools::run(&program, &args) {
        return ExitCode::from(status);
    }
    match args.first().and_then(|arg| arg.to_str()) {
        Some("-v" | "--version") => {
            println!("{}", gyre::server::version_line());
            return ExitCode::SUCCESS;
        }
        Some("-h" | "--help") => {
            println!("{}", gyre::server::USAGE);
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    gyre::system::process::claim_title();
    let mut stdin = || {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text).map(|_| text)
    };
    match gyre::config::Config::load(&args, &mut stdin) {
        Ok(mut config) => {
            config.set_program(program.as_encoded_bytes());
            ExitCode::from(gyre::server::serve(config) as u8)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
