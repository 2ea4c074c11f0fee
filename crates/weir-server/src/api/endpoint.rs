//! One route: how it is called, who may, what it takes and gives.

use axum::handler::Handler;
use axum::http::Method;
use axum::middleware;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use weir_control::principals::Permission;

use crate::ServerState;
use crate::guard::{Gate, guard};

pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

pub(crate) struct Endpoint {
    pub(crate) method: Method,
    /// Below the API's beginning.
    pub(crate) path: &'static str,
    pub(crate) permission: Permission,
    pub(super) summary: &'static str,
    pub(super) query: Option<SchemaOf>,
    pub(super) body: Option<SchemaOf>,
    pub(super) answer: Option<(u16, SchemaOf)>,
    /// Whether it takes `If-Match`.
    pub(super) conditional: bool,
    /// What is given instead of JSON, as it comes: the answer is not held, and has no tag.
    pub(super) streams: Option<&'static str>,
    /// Whether what it takes may be kept nowhere but where it belongs, nor told again.
    pub(super) is_secret: bool,
    /// Whether it asks a connection's source, which may refuse or not answer.
    pub(super) asks_outside: bool,
    /// Whether it makes calls: they keep their own keys, may have to wait for people, and fail as vendors do.
    pub(super) makes_calls: bool,
    route: MethodRouter<ServerState>,
}

impl Endpoint {
    pub(super) fn get<H, T>(
        path: &'static str,
        permission: Permission,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, ServerState>,
        T: 'static,
    {
        Self::new(
            Method::GET,
            MethodFilter::GET,
            (path, permission, summary),
            handler,
        )
    }

    pub(super) fn post<H, T>(
        path: &'static str,
        permission: Permission,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, ServerState>,
        T: 'static,
    {
        Self::new(
            Method::POST,
            MethodFilter::POST,
            (path, permission, summary),
            handler,
        )
    }

    pub(super) fn put<H, T>(
        path: &'static str,
        permission: Permission,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, ServerState>,
        T: 'static,
    {
        Self::new(
            Method::PUT,
            MethodFilter::PUT,
            (path, permission, summary),
            handler,
        )
    }

    pub(super) fn delete<H, T>(
        path: &'static str,
        permission: Permission,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, ServerState>,
        T: 'static,
    {
        Self::new(
            Method::DELETE,
            MethodFilter::DELETE,
            (path, permission, summary),
            handler,
        )
    }

    fn new<H, T>(
        method: Method,
        filter: MethodFilter,
        (path, permission, summary): (&'static str, Permission, &'static str),
        handler: H,
    ) -> Self
    where
        H: Handler<T, ServerState>,
        T: 'static,
    {
        Self {
            method,
            path,
            permission,
            summary,
            query: None,
            body: None,
            answer: None,
            conditional: false,
            streams: None,
            is_secret: false,
            asks_outside: false,
            makes_calls: false,
            route: on(filter, handler),
        }
    }

    pub(super) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(schema_of::<T>);
        self
    }

    pub(super) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(schema_of::<T>);
        self
    }

    pub(super) fn answers<T: JsonSchema>(mut self, status: u16) -> Self {
        self.answer = Some((status, schema_of::<T>));
        self
    }

    pub(super) fn conditional(mut self) -> Self {
        self.conditional = true;
        self
    }

    pub(super) fn streams(mut self, media: &'static str) -> Self {
        self.streams = Some(media);
        self
    }

    pub(super) fn keep_from_logs(mut self) -> Self {
        self.is_secret = true;
        self
    }

    pub(super) fn asks_outside(mut self) -> Self {
        self.asks_outside = true;
        self
    }

    pub(super) fn makes_calls(mut self) -> Self {
        self.makes_calls = true;
        self
    }

    pub(super) fn guarded(self, state: &ServerState) -> MethodRouter<ServerState> {
        let gate = Gate {
            state: state.clone(),
            permission: self.permission,
            path: self.path,
            // Even the hash of a request tells something of what is in it.
            keeps_keys: !self.makes_calls && !self.is_secret,
            streams: self.streams.is_some(),
        };
        self.route
            .route_layer(middleware::from_fn_with_state(gate, guard))
    }
}
