//! Which node to talk to, with which token, and where stream credentials are kept.
//!
//! A token comes from the first of: `--token`, `--token-file`, `SLUICE_TOKEN`, `SLUICE_TOKEN_FILE`, and,
//! when the node is on this machine, `admin.token` in the data folder (`SLUICE_DATA`, else the default).

use std::{
    fmt,
    path::{Path, PathBuf},
};

use clap::{
    ArgMatches,
    builder::{OsStringValueParser, TypedValueParser},
    parser::ValueSource,
};
use reqwest::Url;

use super::{failure::Failure, output::Format};
use crate::config::DEFAULT_DATA_DIR;

/// Options every command takes.
#[derive(clap::Args)]
pub struct ConnectionArguments {
    /// Address of a node
    #[arg(
        long,
        global = true,
        env = "SLUICE_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL",
        help_heading = "Connection"
    )]
    server: String,
    /// API token; --token-file keeps it out of the process list
    #[arg(
        long,
        global = true,
        env = "SLUICE_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        help_heading = "Connection"
    )]
    token: Option<String>,
    /// File that holds the API token [default: admin.token in the data folder of a node on this machine]
    #[arg(
        long,
        global = true,
        env = "SLUICE_TOKEN_FILE",
        value_parser = OsStringValueParser::new().map(PathBuf::from),
        value_name = "FILE",
        help_heading = "Connection"
    )]
    token_file: Option<PathBuf>,
}

/// Everything a command knows of its surroundings.
pub struct Settings {
    pub server: Server,
    pub format: Format,
    /// Folder of saved stream credentials; `None` when neither `SLUICE_HOME` nor `HOME` is set.
    pub home: Option<PathBuf>,
    token: TokenSource,
}

/// A token and where it was found, for the message when it is not accepted.
pub struct Token {
    pub text: String,
    pub origin: String,
}

/// Where the API token will be read.
#[derive(PartialEq, Eq)]
pub enum TokenSource {
    /// Given as it is; the origin says by what.
    Text { token: String, origin: &'static str },
    /// A file the caller named.
    File { path: PathBuf, origin: &'static str },
    /// The file a node writes on first start. It may be absent.
    DataFolder(PathBuf),
    /// The node is elsewhere, so the token of a node on this machine must not be sent to it.
    Nowhere,
}

/// A value and whether it stood on the command line (else: in the environment).
#[derive(Clone)]
pub struct Given<T> {
    pub value: T,
    pub by_flag: bool,
}

impl Settings {
    /// Settings of one run, from parsed arguments and the environment.
    ///
    /// # Errors
    ///
    /// The server's address is not an address.
    pub fn resolve(
        given: ConnectionArguments,
        matches: &ArgMatches,
        format: Format,
    ) -> Result<Settings, Failure> {
        let server: Server = Server::parse(&given.server)?;
        let by_flag = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let token = given.token.filter(|text| !text.trim().is_empty());
        let file = given.token_file.filter(|path| !path.as_os_str().is_empty());
        let source = choose_token(
            token.map(|value| Given { value, by_flag: by_flag("token") }),
            file.map(|value| Given { value, by_flag: by_flag("token_file") }),
            server.is_local().then(|| data_folder().join("admin.token")),
        );
        Ok(Settings {
            server,
            format,
            home: home_folder(env_path("SLUICE_HOME"), env_path("HOME")),
            token: source,
        })
    }

    /// Settings for a node this process started itself.
    #[must_use]
    pub fn for_node(server: Server, token: String, home: PathBuf) -> Settings {
        let token = TokenSource::Text { token, origin: "the node" };
        Settings { server, format: Format::Table, home: Some(home), token }
    }

    /// The API token.
    ///
    /// # Errors
    ///
    /// None was found, or the file that holds it cannot be read.
    pub fn token(&self) -> Result<Token, Failure> {
        match &self.token {
            TokenSource::Text { token, origin } => {
                Ok(Token { text: token.trim().to_owned(), origin: (*origin).to_owned() })
            }
            TokenSource::File { path, origin } => read_token(path, &format!("{} ({origin})", path.display())),
            TokenSource::DataFolder(path) if path.exists() => read_token(path, &path.display().to_string()),
            TokenSource::DataFolder(path) => Err(no_token(&format!("there is no {}", path.display()))),
            TokenSource::Nowhere => {
                Err(no_token("the token of a node on this machine is not sent elsewhere"))
            }
        }
    }
}

/// The rule of precedence: a flag beats the environment, then a token beats a file, then the data folder.
pub fn choose_token(
    token: Option<Given<String>>,
    file: Option<Given<PathBuf>>,
    data_folder: Option<PathBuf>,
) -> TokenSource {
    let file_wins = file.as_ref().is_some_and(|f| f.by_flag) && !token.as_ref().is_some_and(|t| t.by_flag);
    match (token, file) {
        (Some(token), _) if !file_wins => {
            let origin = if token.by_flag { "--token" } else { "SLUICE_TOKEN" };
            TokenSource::Text { token: token.value, origin }
        }
        (_, Some(file)) => {
            let origin = if file.by_flag { "--token-file" } else { "SLUICE_TOKEN_FILE" };
            TokenSource::File { path: file.value, origin }
        }
        _ => data_folder.map_or(TokenSource::Nowhere, TokenSource::DataFolder),
    }
}

fn no_token(why: &str) -> Failure {
    Failure::new(
        format!("this needs an API token and none was found: {why}"),
        "give one with --token-file FILE or SLUICE_TOKEN_FILE (or --token, SLUICE_TOKEN); a node writes the \
         first one to admin.token in its data folder, which SLUICE_DATA names",
    )
}

fn read_token(path: &Path, origin: &str) -> Result<Token, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let what = format!("cannot read the token file {}: {error}", path.display());
        Failure::new(what, "name a readable file with --token-file, or run as the user the node runs as")
    })?;
    let text = text.trim().to_owned();
    if text.is_empty() {
        let what = format!("the token file {} is empty", path.display());
        return Err(Failure::new(what, "name another file with --token-file"));
    }
    Ok(Token { text, origin: origin.to_owned() })
}

fn data_folder() -> PathBuf {
    env_path("SLUICE_DATA").unwrap_or_else(|| DEFAULT_DATA_DIR.into())
}

/// `SLUICE_HOME`, else `~/.config/sluice`.
pub fn home_folder(sluice_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    sluice_home.or_else(|| home.map(|home| home.join(".config").join("sluice")))
}

fn env_path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Address of a node: `http` or `https`, host, port, and perhaps a path before the API's.
#[derive(Clone, PartialEq, Eq)]
pub struct Server(Url);

impl Server {
    /// Reads an address such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    ///
    /// It is not an http(s) address, or it carries a user name, a query or a fragment.
    pub fn parse(text: &str) -> Result<Server, Failure> {
        let refused = |why: &str| {
            Failure::new(
                format!("the server address {why}"),
                "give --server or SLUICE_SERVER as http://HOST:PORT",
            )
        };
        let url = Url::parse(text.trim()).map_err(|_| refused("is not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(refused("does not start with http:// or https:// and a host"));
        }
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return Err(refused("holds more than scheme, host, port and path"));
        }
        Ok(Server(url))
    }

    /// The address of what lies under `segments`, each of which is escaped.
    #[must_use]
    pub fn at(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        url.path_segments_mut().expect("an http URL has a path").pop_if_empty().extend(segments);
        url
    }

    /// Whether the node is on this machine by its address.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self.0.host_str().unwrap_or_default().trim_matches(['[', ']']) {
            "localhost" => true,
            host => host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests;
