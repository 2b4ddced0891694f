//! Which address goes through which proxy.

use http::Uri;

use super::{ProxyVariables, UnusableProxy, proxy_for};

fn variables(set: &[(&str, &str)]) -> ProxyVariables {
    ProxyVariables::read(|name| {
        let found = set.iter().find(|(one, _)| *one == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

fn chosen(origin: &str, setting: Option<&str>, set: &[(&str, &str)]) -> Result<Option<String>, UnusableProxy> {
    let origin: Uri = origin.parse().unwrap();
    let proxy = proxy_for(&origin, setting, &variables(set))?;
    Ok(proxy.map(|proxy| proxy.uri.authority().unwrap().to_string()))
}

#[test]
fn exceptions_are_names_suffixes_addresses_networks_and_ports() {
    for (no, origin, is_direct) in [
        ("", "https://api.example.com", false),
        ("*", "https://api.example.com", true),
        ("api.example.com", "https://api.example.com", true),
        ("API.Example.COM", "https://api.example.com", true),
        ("example.com", "https://api.example.com", true),
        (".example.com", "https://api.example.com", true),
        ("*.example.com", "https://api.example.com", true),
        ("ample.com", "https://api.example.com", false),
        ("api.example.com.evil", "https://api.example.com", false),
        ("example.com", "https://notexample.com", false),
        ("other.net,  example.com ", "https://api.example.com", true),
        ("other.net example.com", "https://api.example.com", true),
        ("example.com:443", "https://api.example.com", true),
        ("example.com:8443", "https://api.example.com", false),
        ("example.com:8443", "https://api.example.com:8443", true),
        ("example.com:80", "http://api.example.com", true),
        ("10.1.2.3", "https://10.1.2.3:8000", true),
        ("10.1.2.3:8000", "https://10.1.2.3:8000", true),
        ("10.1.2.3:8001", "https://10.1.2.3:8000", false),
        ("10.0.0.0/8", "https://10.1.2.3:8000", true),
        ("10.0.0.0/8", "https://11.1.2.3:8000", false),
        // The name of a host says nothing of its address, which only the proxy may be able to look up.
        ("10.0.0.0/8", "https://ten.example.com", false),
        ("10.1.*", "https://10.1.2.3:8000", true),
        ("10.*.*.*", "https://10.1.2.3:8000", true),
        ("10.2.*", "https://10.1.2.3:8000", false),
        // openclaw/openclaw #79030
        (
            "127.*,10.*,172.16.*,100.64.*,100.64.0.0/10,localhost,*.local",
            "http://100.64.0.3:8990",
            true,
        ),
        ("127.*,10.*,100.64.*,localhost", "http://100.64.0.3:8990", true),
        ("fd00::/8", "https://[fd00::1]", true),
        ("fd00::1", "https://[fd00::1]", true),
        ("[fd00::1]", "https://[fd00::1]", true),
        ("[fd00::1]:8000", "https://[fd00::1]:8000", true),
        ("[fd00::1]:8001", "https://[fd00::1]:8000", false),
        ("fe80::/10", "https://[fd00::1]", false),
    ] {
        let set = [("ALL_PROXY", "http://proxy:3128"), ("NO_PROXY", no)];
        let expected = if is_direct { None } else { Some("proxy:3128".to_owned()) };
        assert_eq!(chosen(origin, None, &set), Ok(expected), "{no:?} {origin}");
    }
}

#[test]
fn the_variable_of_the_scheme_holds_before_that_of_all() {
    let all = [
        ("ALL_PROXY", "all:1"),
        ("HTTPS_PROXY", "http://tls:2"),
        ("http_proxy", "http://plain:3"),
    ];
    let name = |origin, set: &[_]| chosen(origin, None, set).unwrap();
    assert_eq!(name("https://a.example", &all).as_deref(), Some("tls:2"));
    assert_eq!(name("http://a.example", &all).as_deref(), Some("plain:3"));
    assert_eq!(name("http://a.example", &all[..2]).as_deref(), Some("all:1"));
    assert_eq!(name("https://a.example", &[("http_proxy", "http://plain:3")]), None);
    // An empty one is as good as none, of whichever spelling.
    let lower = [("HTTPS_PROXY", ""), ("https_proxy", "http://lower:4")];
    assert_eq!(name("https://a.example", &lower).as_deref(), Some("lower:4"));
    assert_eq!(name("https://a.example", &[("https_proxy", " ")]), None);
}

#[test]
fn this_machine_is_reached_through_a_proxy_only_by_the_providers_own_setting() {
    let set = [("ALL_PROXY", "http://proxy:3128")];
    for origin in [
        "http://localhost:8000",
        "http://LocalHost",
        "https://model.localhost",
        "http://127.0.0.1:11434",
        "http://127.8.8.8",
        "http://[::1]:8000",
        "http://[::ffff:127.0.0.1]",
    ] {
        assert_eq!(chosen(origin, None, &set), Ok(None), "{origin}");
        assert_eq!(
            chosen(origin, Some("http://own:1"), &set),
            Ok(Some("own:1".to_owned())),
            "{origin}"
        );
    }
    assert_eq!(
        chosen("http://localhost.example.com", None, &set),
        Ok(Some("proxy:3128".to_owned()))
    );
}

#[test]
fn a_providers_own_setting_holds_whatever_the_environment_says() {
    let set = [("ALL_PROXY", "socks5://proxy:1080"), ("NO_PROXY", "*")];
    assert_eq!(chosen("https://a.example", Some("none"), &set), Ok(None));
    let own = Some("https://own:3129");
    assert_eq!(chosen("https://a.example", own, &set), Ok(Some("own:3129".to_owned())));
}

#[test]
fn a_proxy_that_cannot_be_used_is_not_gone_past() {
    for bad in ["socks5://proxy:1080", "ftp://proxy", "http://", "not a proxy"] {
        let set = [("HTTPS_PROXY", bad)];
        assert_eq!(chosen("https://a.example", None, &set), Err(UnusableProxy), "{bad}");
        assert_eq!(chosen("https://a.example", Some(bad), &[]), Err(UnusableProxy), "{bad}");
        let excepted = [("HTTPS_PROXY", bad), ("NO_PROXY", "example")];
        assert_eq!(chosen("https://a.example", None, &excepted), Ok(None), "{bad}");
    }
}

#[test]
fn name_and_password_are_taken_from_the_url() {
    let origin: Uri = "https://a.example".parse().unwrap();
    let proxy = proxy_for(
        &origin,
        Some("http://maple:p%40ss@proxy:3128"),
        &ProxyVariables::default(),
    );
    let authorization = proxy.unwrap().unwrap().authorization.unwrap();
    assert_eq!(authorization, "Basic bWFwbGU6cEBzcw==");
    assert!(authorization.is_sensitive());
}
