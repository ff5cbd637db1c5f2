//! How an operator proves who they are: files for TLS, a token.

use super::failure::Failure;
use squall_agent::tls_files::TlsFiles;
use std::path::PathBuf;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::Uri;
use tonic::{Request, Status};

/// Holds a token. Never a flag: every user of a machine sees the arguments of all its processes.
const TOKEN: &str = "SQUALL_TOKEN";

/// What is shown to a controller.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Access {
    #[command(flatten)]
    pub tls: TlsFiles,
    /// A file with your token (or set SQUALL_TOKEN to the token itself)
    #[arg(long, value_name = "FILE", env = "SQUALL_TOKEN_FILE", help_heading = "TLS")]
    pub token_file: Option<PathBuf>,
}

/// Puts the token beside every call. A file is read each time, since tokens are short-lived.
#[derive(Clone)]
pub struct Bearer(Source);

#[derive(Clone)]
enum Source {
    None,
    Fixed(MetadataValue<Ascii>),
    File(PathBuf),
}

fn header(token: &str) -> Option<MetadataValue<Ascii>> {
    let mut header: MetadataValue<Ascii> = format!("Bearer {}", token.trim()).parse().ok()?;
    header.set_sensitive(true);
    Some(header).filter(|_| !token.trim().is_empty())
}

impl Bearer {
    pub fn nobody() -> Self {
        Self(Source::None)
    }

    fn value(&self) -> Result<Option<MetadataValue<Ascii>>, String> {
        let path = match &self.0 {
            Source::None => return Ok(None),
            Source::Fixed(header) => return Ok(Some(header.clone())),
            Source::File(path) => path,
        };
        let named = |why: String| format!("--token-file {}: {why}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| named(format!("it cannot be read: {error}")))?;
        header(&text).map(Some).ok_or_else(|| named("it holds no token".to_owned()))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = self.value().map_err(Status::unauthenticated)? {
            request.metadata_mut().insert("authorization", header);
        }
        Ok(request)
    }
}

impl Access {
    /// Files that cannot be used are told before anybody is dialled.
    pub fn check(&self) -> Result<(), Failure> {
        self.tls.client_config().map(|_| ()).map_err(|problem| Failure::usage(problem.to_string()))
    }

    /// The token for `controller`, which never travels in the clear.
    pub fn bearer(&self, controller: &Uri) -> Result<Bearer, Failure> {
        let set = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
        let bearer = match (&self.token_file, set) {
            (Some(path), _) => Bearer(Source::File(path.clone())),
            (None, Some(token)) => {
                let header = header(&token).ok_or_else(|| Failure::usage(format!("{TOKEN} is no token")))?;
                Bearer(Source::Fixed(header))
            }
            (None, None) => return Ok(Bearer::nobody()),
        };
        bearer.value().map_err(Failure::usage)?;
        if controller.scheme_str() != Some("https") && !is_here(controller) {
            return Err(Failure::usage(format!(
                "a token is not sent to {controller} in the clear: write https://, or unset {TOKEN} and --token-file"
            )));
        }
        Ok(bearer)
    }
}

fn is_here(controller: &Uri) -> bool {
    let host = controller.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_from_a_file_goes_only_where_nobody_listens() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let access = Access { token_file: Some(file.clone()), ..Access::default() };
        let to = |url: &str| access.bearer(&url.parse().unwrap());
        assert!(to("https://10.0.0.5:7700").is_err(), "the file is not there");
        std::fs::write(&file, " \n").unwrap();
        assert!(to("https://10.0.0.5:7700").is_err(), "it is empty");
        std::fs::write(&file, "a.b.c\n").unwrap();
        for url in ["https://10.0.0.5:7700", "http://127.0.0.1:7700", "http://[::1]:7700", "http://localhost"] {
            assert!(to(url).is_ok(), "{url}");
        }
        let refused = to("http://10.0.0.5:7700").err().unwrap();
        assert!(refused.code == 2 && refused.text.contains("in the clear"), "{}", refused.text);
        let mut bearer = to("https://10.0.0.5:7700").unwrap();
        std::fs::write(&file, "d.e.f\n").unwrap();
        let sent = bearer.call(Request::new(())).unwrap();
        assert_eq!(sent.metadata().get("authorization").unwrap(), "Bearer d.e.f");
    }
}
