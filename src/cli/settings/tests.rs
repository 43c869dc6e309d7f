//! Precedence of settings, and addresses.

use super::*;

fn text(value: &str, by_flag: bool) -> Option<Given<String>> {
    Some(Given { value: value.to_owned(), by_flag })
}

fn file(value: &str, by_flag: bool) -> Option<Given<PathBuf>> {
    Some(Given { value: value.into(), by_flag })
}

fn chosen(token: Option<Given<String>>, path: Option<Given<PathBuf>>) -> String {
    match choose_token(token, path, Some("data/admin.token".into())) {
        TokenSource::Text { token, origin } => format!("{token} by {origin}"),
        TokenSource::File { path, origin } => format!("{} by {origin}", path.display()),
        TokenSource::DataFolder(path) => path.display().to_string(),
        TokenSource::Nowhere => "nowhere".to_owned(),
    }
}

#[test]
fn a_flag_beats_the_environment_and_a_token_beats_a_file() {
    assert_eq!(chosen(text("t", true), file("f", true)), "t by --token");
    assert_eq!(chosen(text("t", true), file("f", false)), "t by --token");
    assert_eq!(chosen(text("t", false), file("f", true)), "f by --token-file");
    assert_eq!(chosen(text("t", false), file("f", false)), "t by SLUICE_TOKEN");
    assert_eq!(chosen(None, file("f", false)), "f by SLUICE_TOKEN_FILE");
    assert_eq!(chosen(None, None), "data/admin.token");
}

#[test]
fn the_token_of_a_node_here_is_not_sent_elsewhere() {
    assert!(choose_token(None, None, None) == TokenSource::Nowhere);
    let local = |address: &str| Server::parse(address).unwrap().is_local();
    assert!(local("http://127.0.0.1:8080") && local("http://localhost") && local("https://[::1]:1"));
    assert!(!local("http://10.0.0.1:8080") && !local("https://localhost.example.org"));
}

#[test]
fn a_server_is_an_http_address_and_nothing_more() {
    for wrong in
        ["127.0.0.1:8080", "localhost:8080", "ftp://a", "http://u:p@a", "http://a/?q", "http://a/#f", ""]
    {
        assert!(Server::parse(wrong).is_err(), "{wrong}");
    }
    let server = Server::parse("https://example.org/sluice/").unwrap();
    assert_eq!(server.to_string(), "https://example.org/sluice");
    assert_eq!(server.at(&["api", "a b", "c/d"]).as_str(), "https://example.org/sluice/api/a%20b/c%2Fd");
}

#[test]
fn credentials_are_kept_under_sluice_home_or_the_home_folder() {
    let at = |home: Option<&str>, user: Option<&str>| home_folder(home.map(Into::into), user.map(Into::into));
    assert_eq!(at(Some("/s"), Some("/u")), Some("/s".into()));
    assert_eq!(at(None, Some("/u")), Some("/u/.config/sluice".into()));
    assert_eq!(at(None, None), None);
}
