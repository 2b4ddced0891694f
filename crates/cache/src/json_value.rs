//! Values whose written form is JSON: most of them.

use domain::account::{KeyOwner, OrganizationSettings, SessionOwner, User};

/// `Type, schema, value => bytes in memory beside its own size;` for each type.
#[macro_export]
macro_rules! json_value {
    ($($type:ty, $schema:literal, $value:ident => $weight:expr;)+) => {$(
        impl $crate::value::Value for $type {
            const SCHEMA: u8 = $schema;

            fn weight(&self) -> usize {
                let $value = self;
                $weight
            }

            fn encode(&self) -> Vec<u8> {
                $crate::value::to_json(self)
            }

            fn decode(bytes: &::bytes::Bytes) -> Option<Self> {
                $crate::value::from_json(bytes)
            }
        }
    )+};
}

// The nouns of `domain`: only the crate of the trait may say how they are written.
json_value! {
    SessionOwner, 2, _value => 0;
    KeyOwner, 1, _value => 0;
    OrganizationSettings, 1, _value => 0;
    User, 1, user => user.email.len() + user.name.len() + user.organization.name.len();
}
