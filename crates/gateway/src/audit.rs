//! The circumstances in which changes are made, and the events that no change goes with. Who reads the log is the people's side's to say.

pub mod behind;

use domain::{
    account::SessionOwner,
    audit::{Act, Actor},
};
use telemetry::context;

pub use behind::Behind;

/// What is known of whoever asks for a change, with the request that is being served, if one is.
pub fn act(actor: Actor) -> Act {
    let request = context::current();
    Act {
        actor,
        address: request.as_ref().map(|request| request.client),
        request_id: request.map(|request| std::sync::Arc::clone(&request.request_id)),
    }
}

/// The same for a signed-in person.
pub fn act_of(caller: &SessionOwner) -> Act {
    act(Actor::User(caller.user))
}
