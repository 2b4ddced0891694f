//! Who reads the log, and which part of it.

use serde_json::{Value, json};

use super::{events, stored, the_one};
use crate::support::{
    Client, TestApp,
    accounts::{join, register},
};

/// All pages of a list, each as long as `limit`.
async fn paged(reader: &Client, filters: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = reader
            .get(&format!("/api/audit?limit={limit}{filters}{cursor}"))
            .await
            .ok(200);
        let rows = page["data"].as_array().unwrap();
        assert!(rows.len() <= limit);
        all.extend(rows.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_and_admins_read_and_nobody_else() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let (admin, member) = (join(&app, &owner, "admin").await, join(&app, &owner, "member").await);
    assert!(!events(&owner.client, "").await.is_empty());
    assert!(!events(&admin.client, "").await.is_empty());
    member.client.get("/api/audit").await.problem(403, "not_allowed");
    app.client.get("/api/audit").await.problem(401, "unauthenticated");
    let key = owner.program().await;
    key.get("/api/audit").await.problem(401, "key_not_allowed");
    // By the role of this moment, whatever another instance remembers of the session.
    let (elsewhere, other) = app.start_second().await;
    let there = other.with(&admin.access_token);
    there.get("/api/audit").await.ok(200);
    let (path, role) = (format!("/api/users/{}", admin.id), json!({"role": "member"}));
    owner.client.patch(&path, &role).await.ok(200);
    there.get("/api/audit").await.problem(403, "not_allowed");
    elsewhere.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_what_is_done_in_another_organization() {
    let app = TestApp::start().await;
    let (owner, stranger) = (register(&app).await, register(&app).await);
    owner.create_key().await;
    for filter in [
        "",
        "?action=api_key.created",
        &format!("?actor={}", owner.id),
        &format!("?actor={}&action=api_key.created", owner.id),
    ] {
        let ours = events(&owner.client, filter).await;
        assert!(!ours.is_empty(), "{filter}");
        let theirs = events(&stranger.client, filter).await;
        let ids: Vec<_> = ours.iter().map(|event| &event["id"]).collect();
        assert!(
            theirs.iter().all(|event| !ids.contains(&&event["id"])),
            "{filter}: {theirs:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_follow_one_another_without_gaps_and_filters_go_along() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let admin = join(&app, &owner, "admin").await;
    for person in [&owner, &admin, &owner, &admin, &owner] {
        person.create_key().await;
    }
    let all = events(&owner.client, "?limit=100").await;
    let times: Vec<_> = all.iter().map(|event| event["occurred_at"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|one, next| one >= next), "{times:?}");
    for limit in [1, 2, 3, all.len()] {
        assert_eq!(paged(&owner.client, "", limit).await, all);
    }
    // Those that come while somebody reads shift nothing.
    let first = owner.client.get("/api/audit?limit=2").await.ok(200);
    admin.create_key().await;
    let next = first["next_cursor"].as_str().unwrap();
    assert_eq!(
        events(&owner.client, &format!("?limit=2&cursor={next}")).await,
        all[2..4]
    );

    let by_owner: Vec<_> = all
        .iter()
        .filter(|event| event["actor"]["id"] == owner.id)
        .cloned()
        .collect();
    assert_eq!(paged(&owner.client, &format!("&actor={}", owner.id), 2).await, by_owner);
    let made: Vec<_> = by_owner
        .iter()
        .filter(|event| event["action"] == "api_key.created")
        .cloned()
        .collect();
    assert_eq!(made.len(), 3);
    let both = format!("&actor={}&action=api_key.created", owner.id);
    assert_eq!(paged(&owner.client, &both, 1).await, made);
    let since = made[1]["occurred_at"].as_str().unwrap();
    assert_eq!(
        paged(&owner.client, &format!("{both}&from={since}"), 1).await,
        made[..2]
    );
    // The end is not included, so that two spans that meet share nothing.
    assert_eq!(paged(&owner.client, &format!("{both}&to={since}"), 1).await, made[2..]);
    // The same moment in another zone.
    let moment = chrono::DateTime::parse_from_rfc3339(since).unwrap();
    let there = moment
        .with_timezone(&chrono::FixedOffset::east_opt(5 * 3600 + 1800).unwrap())
        .to_rfc3339();
    let escaped = there.replace('+', "%2B");
    for written in [there, escaped] {
        assert_eq!(
            paged(&owner.client, &format!("{both}&from={written}"), 2).await,
            made[..2],
            "{written}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_filter_is_refused_with_what_is_allowed() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    for (query, field, allowed) in [
        ("?action=member.promoted", "action", "member.role_changed"),
        ("?actor=ada@maple.test", "actor", "operator, system, unknown"),
        ("?from=2026-11-30", "from", "2026-11-30T08:00:00Z"),
        ("?to=tomorrow", "to", "2026-11-30T10:00:00+02:00"),
        ("?to=1960-01-01T00:00:00Z", "to", "1970"),
        (
            "?from=2026-11-30T08:00:00Z&to=2026-11-29T08:00:00Z",
            "to",
            "before `from`",
        ),
        ("?limit=101", "limit", "between 1 and 100"),
        ("?cursor=x", "cursor", "next_cursor"),
    ] {
        let problem = owner
            .client
            .get(&format!("/api/audit{query}"))
            .await
            .problem(422, "invalid_fields");
        let errors = problem["errors"].to_string();
        assert!(
            errors.contains(&format!("\"{field}\"")) && errors.contains(allowed),
            "{query}: {problem}"
        );
    }
    owner
        .client
        .get("/api/audit?who=me")
        .await
        .problem(422, "invalid_fields");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_filter_goes_by_an_index_however_much_there_is() {
    let app = TestApp::start().await;
    let owner = register(&app).await;
    let mut database = app.database().await;
    for statement in [
        "INSERT INTO audit_events (id, organization_id, occurred_at, action, actor_kind, actor_id, target_kind, occurrences)
         SELECT gen_random_uuid(), o.id, now() - number * interval '1 minute', 'session.signed_in', 'user', gen_random_uuid(),
             'session', 1
         FROM organizations o, generate_series(1, 20000) number",
        "ANALYZE audit_events",
    ] {
        sqlx::raw_sql(statement).execute(&mut database).await.unwrap();
    }
    let (rare, someone) = ("organization.registered", &owner.id);
    let queries = [
        String::new(),
        "?to=2026-01-01T00:00:00Z".to_owned(),
        format!("?actor={someone}"),
        format!("?action={rare}"),
        format!("?actor={someone}&action={rare}"),
        "?actor=operator".to_owned(),
    ];
    // Often enough for a prepared statement's plan to be made for all parameters.
    for query in &queries {
        for _ in 0..8 {
            events(&owner.client, query).await;
        }
    }
    the_one(&events(&owner.client, &queries[4]).await, rare);
    let (read_through, fetched): (i64, i64) =
        sqlx::query_as("SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'audit_events'")
            .fetch_one(&mut database)
            .await
            .unwrap();
    // Copied databases come without rows; ANALYZE is no scan.
    assert!(
        read_through < 20_000,
        "{read_through} rows were read by going through the table"
    );
    assert!(
        fetched < 20_000,
        "{fetched} rows were fetched for {} short lists",
        queries.len() * 8 + 1
    );
    assert_eq!(stored(&app, "action = 'organization.registered'").await, 1);
}
