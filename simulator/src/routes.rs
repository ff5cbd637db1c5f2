//! Which endpoint a path names. The truth counts by these classes, so that
//! ids and parameters don't make a class of their own.

use http::Method;

/// One kind of endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PathClass {
    Root,
    Fixed,
    Lognormal,
    Uniform,
    Exponential,
    Status,
    Bytes,
    Echo,
    EchoJson,
    Login,
    Orders,
    Items,
    SlowBody,
    Redirect,
    Reset,
    Truncate,
    ApiOrder,
    Chat,
    Completions,
    Responses,
    Embeddings,
    Models,
    Unknown,
}

impl PathClass {
    /// How the truth names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Root => "/",
            Self::Fixed => "/fixed",
            Self::Lognormal => "/lognormal",
            Self::Uniform => "/uniform",
            Self::Exponential => "/exponential",
            Self::Status => "/status/{code}",
            Self::Bytes => "/bytes/{n}",
            Self::Echo => "/echo",
            Self::EchoJson => "/echo/json",
            Self::Login => "/login",
            Self::Orders => "/orders",
            Self::Items => "/items/{id}",
            Self::SlowBody => "/slow-body",
            Self::Redirect => "/redirect/{n}",
            Self::Reset => "/reset",
            Self::Truncate => "/truncate",
            Self::ApiOrder => "/api/v1/order",
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
            Self::Responses => "/responses",
            Self::Embeddings => "/embeddings",
            Self::Models => "/models",
            Self::Unknown => "unknown",
        }
    }

    /// The methods it takes; none means any.
    pub(crate) fn methods(self) -> &'static [Method] {
        match self {
            Self::Orders | Self::ApiOrder => &[Method::POST],
            Self::Chat | Self::Completions | Self::Responses | Self::Embeddings => &[Method::POST],
            Self::Models => &[Method::GET],
            _ => &[],
        }
    }
}

/// The class of a path, and its variable part (code, size, id, deployment).
pub(crate) fn route(path: &str) -> (PathClass, Option<&str>) {
    let whole = match path {
        "/" => PathClass::Root,
        "/fixed" => PathClass::Fixed,
        "/lognormal" => PathClass::Lognormal,
        "/uniform" => PathClass::Uniform,
        "/exponential" => PathClass::Exponential,
        "/echo" => PathClass::Echo,
        "/echo/json" => PathClass::EchoJson,
        "/login" => PathClass::Login,
        "/orders" => PathClass::Orders,
        "/slow-body" => PathClass::SlowBody,
        "/reset" => PathClass::Reset,
        "/truncate" => PathClass::Truncate,
        "/api/v1/order" => PathClass::ApiOrder,
        "/openai/responses" => PathClass::Responses,
        _ => return route_with_part(path),
    };
    (whole, None)
}

fn route_with_part(path: &str) -> (PathClass, Option<&str>) {
    let kinds = [
        ("/status/", PathClass::Status),
        ("/bytes/", PathClass::Bytes),
        ("/items/", PathClass::Items),
        ("/redirect/", PathClass::Redirect),
    ];
    for (prefix, class) in kinds {
        if let Some(part) = path.strip_prefix(prefix).filter(|part| !part.is_empty() && !part.contains('/')) {
            return (class, Some(part));
        }
    }
    route_to_model(path).unwrap_or((PathClass::Unknown, None))
}

/// `/v1/…` and `/openai/v1/…`, or Azure's form that names the deployment.
fn route_to_model(path: &str) -> Option<(PathClass, Option<&str>)> {
    if let Some(endpoint) = path.strip_prefix("/openai/v1").or_else(|| path.strip_prefix("/v1")) {
        return Some((endpoint_of_model(endpoint)?, None));
    }
    let rest = path.strip_prefix("/openai/deployments/")?;
    let (name, _) = rest.split_once('/').filter(|(name, _)| !name.is_empty())?;
    let class = endpoint_of_model(&rest[name.len()..]).filter(|class| *class != PathClass::Models)?;
    Some((class, Some(name)))
}

fn endpoint_of_model(path: &str) -> Option<PathClass> {
    Some(match path {
        "/chat/completions" => PathClass::Chat,
        "/completions" => PathClass::Completions,
        "/responses" => PathClass::Responses,
        "/embeddings" => PathClass::Embeddings,
        "/models" => PathClass::Models,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_class_and_its_part() {
        assert_eq!(route("/"), (PathClass::Root, None));
        assert_eq!(route("/bytes/12"), (PathClass::Bytes, Some("12")));
        assert_eq!(route("/bytes/"), (PathClass::Unknown, None));
        assert_eq!(route("/items/a/b"), (PathClass::Unknown, None));
        assert_eq!(route("/openai/deployments/gpt-4o/chat/completions"), (PathClass::Chat, Some("gpt-4o")));
        assert_eq!(route("/openai/v1/chat/completions"), (PathClass::Chat, None));
        assert_eq!(route("/v1/embeddings"), (PathClass::Embeddings, None));
        assert_eq!(route("/openai/responses"), (PathClass::Responses, None));
        assert_eq!(route("/openai/deployments/d/completions"), (PathClass::Completions, Some("d")));
        assert_eq!(route("/deployments/d/completions"), (PathClass::Unknown, None));
    }
}
