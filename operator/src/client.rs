//! The Kubernetes client: kube's own stack, with every call counted by what RBAC sees of it, and with writes refused
//! once this process may no longer lead.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Method, Request, Response, Uri};
use kube::client::{Body, ClientBuilder};
use tower::{BoxError, Layer, Service};

use crate::{
    lease::Fence,
    metrics::{Metrics, RequestLabels},
};

/// A write was refused because this process no longer leads.
#[derive(Debug, thiserror::Error)]
#[error("not written: this process no longer holds the lease")]
pub struct NotLeading;

/// How long an API server may say nothing: longer than a watch without news, which it ends within five minutes, and of which
/// it tells each minute that there is none.
const SILENCE: Duration = Duration::from_secs(300);

/// A client whose writes pass through `fence`. A connection whose other end is gone without a word is given up: nothing else
/// would end a list that waits on one.
///
/// # Errors
/// When the configuration cannot be used, such as a certificate that is not one.
pub fn build(config: kube::Config, fence: Fence, metrics: Metrics) -> Result<kube::Client, kube::Error> {
    Ok(ClientBuilder::try_from(patient(config))?.with_layer(&Guard { fence, metrics }).build())
}

fn patient(mut config: kube::Config) -> kube::Config {
    config.read_timeout.get_or_insert(SILENCE);
    // Not what a pooled connection was idle before.
    config.reset_reader_on_write = true;
    config
}

/// The layer that [`build`] puts around kube's stack.
#[derive(Debug, Clone)]
pub struct Guard {
    fence: Fence,
    metrics: Metrics,
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded { inner, guard: self.clone() }
    }
}

/// A service behind a [`Guard`].
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    inner: S,
    guard: Guard,
}

impl<S, B> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (verb, resource) = describe(request.method(), request.uri());
        if *request.method() != Method::GET && !self.guard.fence.is_open() {
            return Box::pin(std::future::ready(Err(NotLeading.into())));
        }
        let metrics = self.guard.metrics.clone();
        let response = self.inner.call(request);
        Box::pin(async move {
            let result = response.await.map_err(Into::into);
            let code =
                result.as_ref().map_or_else(|_| "error".to_owned(), |r| r.status().as_u16().to_string());
            metrics.request(&RequestLabels { verb: verb.to_owned(), resource, code });
            result
        })
    }
}

/// Verb and resource as RBAC sees them.
fn describe(method: &Method, uri: &Uri) -> (&'static str, String) {
    let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => ("", &[][..]),
    };
    // `namespaces/x/…` is a scope, `namespaces/x` an object.
    let rest = match rest {
        ["namespaces", _, scoped @ ..] if !scoped.is_empty() => scoped,
        other => other,
    };
    let (resource, named, sub) = match rest {
        [] => return ("get", "discovery".to_owned()),
        [resource] => (*resource, false, None),
        [resource, _] => (*resource, true, None),
        [resource, _, sub, ..] => (*resource, true, Some(*sub)),
    };
    let watching = uri.query().is_some_and(|query| query.split('&').any(|p| p == "watch=true"));
    let verb = match method.as_str() {
        "GET" if watching => "watch",
        "GET" if named => "get",
        "GET" => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if named => "delete",
        "DELETE" => "deletecollection",
        _ => "other",
    };
    let dot = if group.is_empty() { "" } else { "." };
    let sub = sub.map(|s| format!("/{s}")).unwrap_or_default();
    (verb, format!("{resource}{dot}{group}{sub}"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt, service_fn};

    use super::*;

    fn seen(method: &Method, path: &str) -> (&'static str, String) {
        describe(method, &path.parse().unwrap())
    }

    #[test]
    fn calls_are_named_as_rbac_names_them() {
        let named = |verb, resource: &str| (verb, resource.to_owned());
        assert_eq!(seen(&Method::GET, "/api/v1/namespaces/a/secrets/s"), named("get", "secrets"));
        assert_eq!(
            seen(&Method::GET, "/apis/apps/v1/deployments?limit=5"),
            named("list", "deployments.apps")
        );
        assert_eq!(
            seen(&Method::GET, "/api/v1/services?allowWatchBookmarks=true&watch=true"),
            named("watch", "services")
        );
        assert_eq!(
            seen(
                &Method::PATCH,
                "/apis/gatehouse.dev/v1alpha1/namespaces/a/mcpservers/m/status?fieldManager=g"
            ),
            named("patch", "mcpservers.gatehouse.dev/status")
        );
        assert_eq!(seen(&Method::GET, "/api/v1/namespaces/a"), named("get", "namespaces"));
        assert_eq!(seen(&Method::GET, "/apis"), named("get", "discovery"));
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_given_up() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap()).parse().unwrap();
        let mut config = kube::Config::new(url);
        assert_eq!(patient(config.clone()).read_timeout, Some(SILENCE));
        config.read_timeout = Some(Duration::from_millis(20));
        let client = build(config, Fence::default(), Metrics::default()).unwrap();
        assert!(client.apiserver_version().await.is_err());
    }

    #[tokio::test]
    async fn a_closed_fence_lets_reads_through_and_no_write() {
        let inner =
            service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
        let metrics = Metrics::default();
        let guard = Guard { fence: Fence::default(), metrics: metrics.clone() };
        let send = async |method: Method| {
            let request = Request::builder().method(method).uri("/api/v1/namespaces/a/secrets/s");
            guard.layer(inner).oneshot(request.body(Body::empty()).unwrap()).await
        };
        assert!(send(Method::GET).await.is_ok());
        let refused = send(Method::PUT).await.unwrap_err();
        assert!(refused.is::<NotLeading>());
        assert_eq!(metrics.writes(), 0);
        let open = Guard { fence: Fence::open(), metrics: metrics.clone() };
        let request = Request::put("/api/v1/namespaces/a/secrets/s").body(Body::empty()).unwrap();
        assert!(open.layer(inner).oneshot(request).await.is_ok());
        assert_eq!(metrics.writes(), 1);
    }
}
