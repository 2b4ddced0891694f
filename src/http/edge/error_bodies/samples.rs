//! At least one error of each code, made the way the service makes it.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, extract::FromRequest as _};
use bytes::Bytes;
use concurrency::memory::Exhausted;
use crypto::{access_token::AccessTokenError, password::PasswordError};
use domain::field::FieldFault;
use futures_util::stream;
use gateway::{
    admission::Refused,
    caches::admin::CacheError,
    completions::{BadRequest, CompletionError, stream::StreamError},
    throttle::Throttled,
    usage::BacklogFull,
};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use llm::outbound::openai::said::Objection;
use people::{
    accounts::AccountError,
    answers::{AnswerError, AnswerFailure},
    api_keys::ApiKeyError,
    invitations::InvitationError,
    sessions::SessionError,
};
use provider::ProviderError;
use store::{
    StoreError,
    error::Unavailable,
    limits::{LimitReached, Limited},
};

use crate::{
    api_error::ApiError,
    http::{
        edge::framing,
        extract::{Form, Json},
    },
};

const SECONDS: Duration = Duration::from_secs(3);

pub(super) async fn all() -> Vec<ApiError> {
    let mut errors = vec![
        ApiError::unauthenticated(),
        ApiError::keys_are_for_v1(),
        ApiError::forged(),
        ApiError::not_found(),
        ApiError::method_not_allowed(),
        ApiError::too_large(65_536),
        ApiError::compressed(),
        ApiError::body_timeout(),
        ApiError::timed_out(),
        ApiError::internal(),
        ApiError::invalid(vec![
            fault("email", "must be an address"),
            fault("role", "must be a role"),
        ]),
    ];
    errors.extend(of_requests().await);
    errors.extend(of_accounts());
    errors.extend(of_calls());
    errors.extend(of_answers());
    errors
}

fn fault(field: &'static str, message: &str) -> FieldFault {
    FieldFault {
        field: field.into(),
        message: message.to_owned(),
    }
}

/// What is said by those who read requests.
async fn of_requests() -> Vec<ApiError> {
    let json = async |content_type: &str, body: Body| {
        let request = Request::post("/")
            .header(header::CONTENT_TYPE, content_type)
            .body(body)
            .unwrap();
        let read = Json::<serde_json::Value>::from_request(request, &()).await;
        read.expect_err("a refusal")
    };
    let broken = Body::from_stream(stream::iter([
        Ok(Bytes::from("{")),
        Err(std::io::Error::other("reset")),
    ]));
    let form = Request::post("/")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from("name=1"))
        .unwrap();
    let form = Form::<Vec<(u32, u32)>>::from_request(form, &()).await;
    let hosts = Request::get("/").body(Body::empty()).unwrap();
    let foreign = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("evil.example"))]);
    vec![
        json("text/plain", Body::empty()).await,
        json("application/json", Body::from("{")).await,
        json("application/json", broken).await,
        form.err().expect("a refusal"),
        framing::check(&hosts).expect_err("a refusal"),
        framing::check_local(&foreign, "maple.test").expect_err("a refusal"),
    ]
}

fn of_accounts() -> Vec<ApiError> {
    let accounts = [
        AccountError::EmailTaken,
        AccountError::RegistrationClosed,
        AccountError::InvalidCredentials,
        AccountError::WrongPassword,
        AccountError::NotAllowed,
        AccountError::LastOwner,
        AccountError::NoHeir,
        AccountError::Yourself,
    ];
    let mut errors: Vec<ApiError> = accounts.map(ApiError::from).into();
    let limits = [
        Limited::KeysOfPerson,
        Limited::KeysOfOrganization,
        Limited::InvitationsOfPerson,
        Limited::InvitationsOfOrganization,
        Limited::InvitationsOfAddress,
        Limited::ConversationsOfPerson,
    ];
    errors.extend(limits.map(|kind| LimitReached { kind, max: 7 }.into()));
    errors.extend([
        Throttled { retry_after: SECONDS }.into(),
        PasswordError::Busy.into(),
        SessionError::Token(AccessTokenError::Expired).into(),
        SessionError::Unconfirmed.into(),
        InvitationError::NotFound.into(),
        ApiKeyError::InvalidKey.into(),
        StoreError::Unavailable(Unavailable::KnownDown).into(),
        CacheError::Redis(cache::redis::RedisError::Refuses("READONLY".to_owned())).into(),
    ]);
    errors
}

fn of_calls() -> Vec<ApiError> {
    let bad_json = serde_json::from_str::<serde_json::Value>("{").expect_err("no JSON");
    let mut errors = vec![
        BacklogFull.into(),
        Refused::Organization { retry_after: SECONDS }.into(),
        Refused::Process { retry_after: SECONDS }.into(),
        Exhausted.into(),
        BadRequest::Json(bad_json).into(),
        BadRequest::Missing("model").into(),
        StreamError::Stopping.into(),
        StreamError::Revoked.into(),
    ];
    errors.extend([
        CompletionError::UnknownModel("gpt-99".to_owned()).into(),
        CompletionError::WrongKind {
            model: "maple-embed".to_owned(),
            kind: "embeddings",
        }
        .into(),
    ]);
    let wrong = [
        BadRequest::WrongType {
            param: "stream",
            expected: "a boolean",
        },
        BadRequest::Misspelt {
            param: "Stream".to_owned(),
            meant: "stream",
        },
    ];
    errors.extend(wrong.map(ApiError::from));
    let provider = [
        ProviderError::Unreachable("refused".into()),
        ProviderError::NoConnection {
            max: 10,
            waited: SECONDS,
        },
        ProviderError::FirstByteTimeout(SECONDS),
        ProviderError::BrokenOff("reset".into()),
        ProviderError::EndedEarly,
        ProviderError::ErrorInAnswer,
        ProviderError::Status(StatusCode::UNAUTHORIZED),
        ProviderError::Busy {
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: SECONDS,
        },
        ProviderError::BadReply("it is too long"),
    ];
    errors.extend(provider.map(ApiError::from));
    errors
}

/// Of conversations. Those of a failed answer are in the same form, within its last event.
fn of_answers() -> Vec<ApiError> {
    let refused = |objection, status| AnswerFailure::Refused {
        status,
        objection,
        retry_after: Some(SECONDS),
    };
    vec![
        AnswerError::NothingAsked.into(),
        AnswerError::InProgress.into(),
        AnswerError::Changed.into(),
        AnswerError::NoModel.into(),
        refused(Objection::ContextLength, StatusCode::BAD_REQUEST).into(),
        refused(Objection::ContentFilter, StatusCode::BAD_REQUEST).into(),
        refused(Objection::Other, StatusCode::TOO_MANY_REQUESTS).into(),
        refused(Objection::Other, StatusCode::BAD_REQUEST).into(),
        AnswerFailure::Deleted.into(),
        AnswerFailure::Store(Arc::new(StoreError::Unavailable(Unavailable::Busy))).into(),
    ]
}
