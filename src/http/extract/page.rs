//! The page of a list that a query asks for.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::api_error::ApiError;
use domain::field::FieldFault;
use domain::page::{Cursor, PageRequest};

/// The paging parameters of every list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// How many rows, 1 to 100; 50 if absent and nothing else is said.
    #[param(minimum = 1, maximum = 100, required = false)]
    limit: Option<u16>,
    /// `next_cursor` of the page before.
    #[param(required = false)]
    cursor: Option<String>,
}

/// The place in a list that a query names.
pub fn read_cursor(cursor: Option<&str>) -> Result<Option<Cursor>, ApiError> {
    cursor.map(Cursor::decode).transpose().map_err(|error| {
        ApiError::invalid(vec![FieldFault {
            field: "cursor".into(),
            message: error.to_string(),
        }])
    })
}

impl PageQuery {
    /// Of a query that has other parameters as well.
    pub fn of(limit: Option<u16>, cursor: Option<String>) -> Self {
        Self { limit, cursor }
    }

    pub fn read(self) -> Result<PageRequest, ApiError> {
        self.read_or(50)
    }

    /// So many rows if the caller does not say.
    pub fn read_or(self, rows: u16) -> Result<PageRequest, ApiError> {
        let mut faults = Vec::new();
        let limit = self.limit.unwrap_or(rows);
        if self.limit.is_some_and(|limit| !(1..=100).contains(&limit)) {
            faults.push(FieldFault {
                field: "limit".into(),
                message: "must be between 1 and 100".to_owned(),
            });
        }
        let after = match self.cursor.as_deref().map(Cursor::decode) {
            None => None,
            Some(Ok(cursor)) => Some(cursor),
            Some(Err(error)) => {
                faults.push(FieldFault {
                    field: "cursor".into(),
                    message: error.to_string(),
                });
                None
            }
        };
        if faults.is_empty() {
            Ok(PageRequest { limit, after })
        } else {
            Err(ApiError::invalid(faults))
        }
    }
}
