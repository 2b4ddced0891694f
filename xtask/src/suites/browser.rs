//! The page for people, in real Chromium, against a started server.

use super::{Context, closing};
use crate::{
    error::TaskError,
    services::{
        Service, install, printed_by,
        server::{Server, setting},
        temporary_folder, upstream,
    },
};

const FILES: [&str; 7] = [
    "test_browser.py",
    "test_page.py",
    "test_page_access.py",
    "test_page_audit.py",
    "test_page_forms.py",
    "test_page_local.py",
    "test_page_watching.py",
];

pub(super) fn run(context: &Context) -> Result<u8, TaskError> {
    install(context.checkout, &["browser"])?;
    let modules = printed_by(context.checkout, "scripts/test/node.sh", &[])?;
    let services = context.services(&[Service::Postgres])?;
    // Beside the development models; and for a model that is run beside the server, of which the tests say how it is.
    let (_upstream, port) = upstream::start(context.jobs, context.checkout)?;
    let upstream = format!("http://127.0.0.1:{port}/v1");
    let local = temporary_folder("mapleai-local.")?;
    let state = local.path().join("state.json");
    let mut settings = vec![
        setting("MAPLE__PROVIDERS__TOLD__KIND", "openai"),
        setting("MAPLE__PROVIDERS__TOLD__BASE_URL", &upstream),
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
    let server = Server::start(context.jobs, context.checkout, &services, &settings)?;
    let axe = modules.join("node_modules/axe-core/axe.min.js");
    let status = context.pytest(&services, &server, &FILES, |tests| {
        tests
            .env("LOCAL_STATE", &state)
            .env("LOCAL_URL", &upstream)
            .env("MAPLE_AXE", axe);
    })?;
    Ok(closing(&server, status, 0))
}
