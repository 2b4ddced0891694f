//! `POST /v1/chat/completions`: whole answers and streams.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};

use super::{App, body, error::RequestError, request::ChatRequest};
use crate::engine::generation::{Event, Finish, Job};

/// While a prompt is read or waits, a stream says so this often: a reader can tell slow from dead.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// A prompt's tokens are counted up to here, for the error that names them. More are "more than".
const MAX_COUNTED: usize = 16_384;

pub async fn completions(State(app): State<Arc<App>>, request: Request) -> Result<Response, RequestError> {
    let (bytes, place) = body::read(&app, request).await?;
    let request = ChatRequest::parse(&bytes, rand::random())?;
    if let Some(model) = &request.model
        && *model != app.model_id
    {
        return Err(RequestError::NoModel(model.chars().take(128).collect()));
    }
    let answer = Answer::begin(&app, &request).await?;
    drop((bytes, place));
    if request.is_stream {
        Ok(answer.stream())
    } else {
        answer.whole().await
    }
}

/// An answer in the making. Dropped, it is given up.
struct Answer {
    id: String,
    created: u64,
    model: String,
    prompt_tokens: usize,
    /// Whether a stream ends with its usage; every chunk before has none then, as OpenAI's have.
    includes_usage: bool,
    events: mpsc::UnboundedReceiver<Event>,
    progress: Arc<AtomicUsize>,
}

impl Answer {
    async fn begin(app: &Arc<App>, request: &ChatRequest) -> Result<Self, RequestError> {
        let context = app.model.context;
        // A text of more bytes than so many of the longest tokens, or more messages than tokens, cannot fit: no work is spent on it.
        let bytes: usize = request.messages.iter().map(|message| message.content.len()).sum();
        if request.messages.len() > context || bytes > context.saturating_mul(app.model.vocabulary.longest_token()) {
            return Err(RequestError::TooLong {
                context,
                prompt: context,
                is_more: true,
            });
        }
        let prompt = prompt(app, request).await?;
        if prompt.len() >= context {
            return Err(RequestError::TooLong {
                context,
                prompt: prompt.len().min(MAX_COUNTED),
                is_more: prompt.len() > MAX_COUNTED,
            });
        }
        let (sender, events) = mpsc::unbounded_channel();
        let progress = Arc::<AtomicUsize>::default();
        let prompt_tokens = prompt.len();
        app.scheduler.submit(Job {
            max_tokens: request.max_tokens.min(context - prompt.len()),
            prompt,
            sampling: request.sampling.clone(),
            stops: request.stops.clone(),
            events: sender,
            progress: Arc::clone(&progress),
        })?;
        Ok(Self {
            id: format!("chatcmpl-{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>()),
            created: (app.now)().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            model: app.model_id.clone(),
            prompt_tokens,
            includes_usage: request.is_stream && request.includes_usage,
            events,
            progress,
        })
    }

    async fn whole(mut self) -> Result<Response, RequestError> {
        let mut text = String::new();
        loop {
            match self.events.recv().await {
                Some(Event::Text(more)) => text.push_str(&more),
                Some(Event::Finished {
                    reason,
                    completion_tokens,
                }) => {
                    let choice = json!({
                        "index": 0,
                        "message": {"role": "assistant", "content": text, "refusal": null},
                        "logprobs": null,
                        "finish_reason": reason.as_str(),
                    });
                    let mut answer = self.head("chat.completion", &json!([choice]));
                    answer["usage"] = self.usage(completion_tokens);
                    return Ok(Json(answer).into_response());
                }
                Some(Event::Failed(message)) => return Err(RequestError::Engine(message)),
                None => return Err(ended()),
            }
        }
    }

    fn stream(self) -> Response {
        let first = self.event(&json!({"role": "assistant", "content": ""}), None);
        let state = Streaming {
            answer: self,
            has_text: false,
            is_over: false,
        };
        let rest = futures_util::stream::unfold(state, |mut state| async move {
            let chunk = state.next().await?;
            Some((Ok::<_, Infallible>(Bytes::from(chunk)), state))
        });
        let first = futures_util::stream::once(async { Ok(Bytes::from(first)) });
        let body = Body::from_stream(futures_util::StreamExt::chain(first, rest));
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        (headers, body).into_response()
    }

    fn head(&self, object: &str, choices: &Value) -> Value {
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices})
    }

    fn event(&self, delta: &Value, finish: Option<Finish>) -> String {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish.map(Finish::as_str)});
        let mut chunk = self.head("chat.completion.chunk", &json!([choice]));
        if self.includes_usage {
            chunk["usage"] = Value::Null;
        }
        data(&chunk)
    }

    fn usage(&self, completion_tokens: usize) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
        })
    }
}

struct Streaming {
    answer: Answer,
    has_text: bool,
    is_over: bool,
}

impl Streaming {
    /// The next events, or a sign of life; nothing after the end.
    async fn next(&mut self) -> Option<String> {
        if self.is_over {
            return None;
        }
        let Ok(event) = timeout(SIGN_OF_LIFE, self.answer.events.recv()).await else {
            return Some(self.sign_of_life());
        };
        Some(match event {
            Some(Event::Text(text)) => {
                self.has_text = true;
                self.answer.event(&json!({"content": text}), None)
            }
            Some(Event::Finished {
                reason,
                completion_tokens,
            }) => {
                self.is_over = true;
                let mut end = self.answer.event(&json!({}), Some(reason));
                if self.answer.includes_usage {
                    let mut usage = self.answer.head("chat.completion.chunk", &json!([]));
                    usage["usage"] = self.answer.usage(completion_tokens);
                    end.push_str(&data(&usage));
                }
                end + "data: [DONE]\n\n"
            }
            Some(Event::Failed(message)) => self.fail(&RequestError::Engine(message)),
            None => self.fail(&ended()),
        })
    }

    /// A comment, which readers of events pass over.
    fn sign_of_life(&self) -> String {
        let read = self.answer.progress.load(Ordering::Relaxed);
        if self.has_text {
            return ": more follows\n\n".to_owned();
        }
        format!(
            ": {read} of {} tokens of the prompt are read\n\n",
            self.answer.prompt_tokens
        )
    }

    fn fail(&mut self, error: &RequestError) -> String {
        self.is_over = true;
        data(&error.body())
    }
}

fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn ended() -> RequestError {
    RequestError::Engine("the server is ending".to_owned())
}

/// Splitting a long text into tokens takes up to a second, and is done where it delays nobody else's stream.
async fn prompt(app: &Arc<App>, request: &ChatRequest) -> Result<Vec<u32>, RequestError> {
    let (app, messages) = (Arc::clone(app), request.messages.clone());
    let tokens = move || app.model.template.tokens(&messages, &app.model.vocabulary, MAX_COUNTED);
    let tokens = tokio::task::spawn_blocking(tokens).await;
    Ok(tokens.map_err(|_| RequestError::Engine("making the prompt failed".to_owned()))??)
}
