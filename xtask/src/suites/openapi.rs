//! Every operation of the OpenAPI document, tried with generated requests, against a started server.

use super::{Context, closing};
use crate::{
    error::TaskError,
    services::{
        Service,
        server::{Server, setting},
    },
};

/// The sign-in throttle and the limits of one person have tests of their own; here they would answer for the code behind them.
const UNLIMITED: [&str; 7] = [
    "AUTH__THROTTLE_PER_ACCOUNT",
    "AUTH__THROTTLE_PER_ADDRESS",
    "AUTH__THROTTLE_SIGN_INS",
    "LIMITS__KEYS_PER_PERSON",
    "LIMITS__INVITATIONS_PER_PERSON",
    "LIMITS__INVITATIONS_PER_ORGANIZATION",
    "LIMITS__SESSIONS_PER_PERSON",
];
/// Nobody watches the answers of the development model arrive.
const DELAYS: [&str; 2] = ["FIRST_TOKEN_DELAY", "TOKEN_DELAY"];

pub(super) fn run(context: &Context) -> Result<u8, TaskError> {
    let services = context.services(&[Service::Postgres])?;
    let limits = UNLIMITED
        .iter()
        .map(|name| setting(&format!("MAPLE__{name}"), "1000000"));
    let delays = DELAYS
        .iter()
        .map(|name| setting(&format!("MAPLE__PROVIDERS__MAPLE_DEV__{name}"), "0s"));
    let settings = limits.chain(delays).collect();
    let server = Server::start(context.jobs, context.checkout, &services, &settings)?;
    let status = context.pytest(&services, &server, &["test_schemathesis.py"], |_| ())?;
    Ok(closing(&server, status, 0))
}
