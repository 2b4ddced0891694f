//! The page for people, in real Chromium, against started servers.

use std::path::Path;

use tempfile::TempDir;

use super::{Context, closing, make_run::to_file};
use crate::{
    error::TaskError,
    jobs::Job,
    say,
    services::{
        Service, Services, install, printed_by,
        server::{Server, setting},
        temporary_folder, upstream,
    },
};

/// Two at a time, since most of what they take is waiting for what a page shows in time. Each has a server and models of its own: some
/// change which models there are.
const SHARES: [&[&str]; 2] = [
    &["test_page.py", "test_page_access.py", "test_page_watching.py"],
    &[
        "test_browser.py",
        "test_page_audit.py",
        "test_page_forms.py",
        "test_page_local.py",
    ],
];

/// What runs for one share. Ended in this order.
struct Share<'a> {
    tests: Job<'a>,
    server: Server<'a>,
    folder: TempDir,
    _upstream: Job<'a>,
}

pub(super) fn run(context: &Context) -> Result<u8, TaskError> {
    install(context.checkout, &["browser"])?;
    let modules = printed_by(context.checkout, "scripts/test/node.sh", &[])?;
    let axe = modules.join("node_modules/axe-core/axe.min.js");
    let services = context.services(&[Service::Postgres])?;
    let mut wanted = SHARES.map(<[&str]>::to_vec).to_vec();
    if !context.arguments.is_empty() {
        // They may select tests of one share alone.
        wanted = vec![wanted.concat()];
    }
    let started = wanted.iter().map(|files| start(context, &services, files, &axe));
    let shares = started.collect::<Result<Vec<_>, _>>()?;
    let mut worst = 0;
    for share in shares {
        let status = share.tests.wait(None)?;
        let log = share.folder.path().join("log");
        say(&super::text_of(&log));
        worst = worst.max(closing(&share.server, status, 0));
    }
    Ok(worst)
}

fn start<'a>(context: &Context<'a>, services: &Services, files: &[&str], axe: &Path) -> Result<Share<'a>, TaskError> {
    // Beside the development models; and for a model that is run beside the server, of which the tests say how it is.
    let (upstream, port) = upstream::start(context.jobs, context.checkout)?;
    let url = format!("http://127.0.0.1:{port}/v1");
    let folder = temporary_folder("mapleai-pages.")?;
    let state = folder.path().join("state.json");
    let mut settings = vec![
        setting("MAPLE__PROVIDERS__TOLD__KIND", "openai"),
        setting("MAPLE__PROVIDERS__TOLD__BASE_URL", &url),
        setting("MAPLE__PROVIDERS__TOLD__DISCOVER_MODELS", "true"),
        // Each test registers somebody, all from one address.
        setting("MAPLE__AUTH__THROTTLE_PER_ADDRESS", "10000"),
        setting("MAPLE__AUTH__THROTTLE_SIGN_INS", "10000"),
        setting("MAPLE__PROVIDERS__LOCAL__KIND", "local"),
        setting("MAPLE__PROVIDERS__LOCAL__STATE_FILE", state.to_string_lossy()),
    ];
    // What is on this machine is asked directly, whatever proxy there is for the rest.
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        settings.push(setting(name, "http://127.0.0.1:1"));
    }
    settings.extend([setting("NO_PROXY", ""), setting("no_proxy", "")]);
    let server = Server::start(context.jobs, context.checkout, services, &settings)?;
    let mut command = context.pytest_command(services, &server, files)?;
    command
        .env("LOCAL_STATE", &state)
        .env("LOCAL_URL", &url)
        .env("MAPLE_AXE", axe);
    let tests = context.jobs.start(to_file(&mut command, &folder.path().join("log"))?)?;
    Ok(Share {
        tests,
        server,
        folder,
        _upstream: upstream,
    })
}
