//! Links of ureq's chain: names and TCP that say which layer failed, and TLS with our configuration.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, TcpConnector, Transport, TransportAdapter,
};

use crate::domain::Layer;

/// A failure whose layer is known, on its way through ureq.
#[derive(Debug)]
pub(super) struct LayerFault {
    pub(super) layer: Layer,
    pub(super) text: String,
}

impl LayerFault {
    /// Marks what is plainly this layer's fault; the rest passes as it is.
    fn mark(layer: Layer, error: ureq::Error) -> ureq::Error {
        match error {
            ureq::Error::Io(error) => LayerFault::error(layer, error.to_string()),
            ureq::Error::Timeout(_) => LayerFault::error(layer, "no answer in time".to_owned()),
            other => other,
        }
    }

    fn error(layer: Layer, text: String) -> ureq::Error {
        ureq::Error::Other(Box::new(LayerFault { layer, text }))
    }
}

impl fmt::Display for LayerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.layer, self.text)
    }
}

impl std::error::Error for LayerFault {}

/// The system's resolver, asked afresh for every connection.
#[derive(Debug)]
pub(super) struct LayeredResolver(pub(super) DefaultResolver);

impl Resolver for LayeredResolver {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.0.resolve(uri, config, timeout).map_err(|error| LayerFault::mark(Layer::Resolve, error))
    }
}

/// ureq's TCP, with its I/O errors marked as the connect layer's.
#[derive(Debug)]
pub(super) struct LayeredTcp(pub(super) TcpConnector);

impl<In: Transport> Connector<In> for LayeredTcp {
    type Out = <TcpConnector as Connector<In>>::Out;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        self.0.connect(details, chained).map_err(|error| LayerFault::mark(Layer::Connect, error))
    }
}

/// rustls with our roots; there is no way to switch verification off.
pub(super) struct OwnTls(pub(super) Arc<ClientConfig>);

impl fmt::Debug for OwnTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnTls")
    }
}

impl<In: Transport> Connector<In> for OwnTls {
    type Out = Either<In, TlsTransport>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let fault = |text: String| LayerFault::error(Layer::Tls, text);
        let host = details.uri.host().unwrap_or("").trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|_| fault("the host is no name for a certificate".to_owned()))?;
        let mut connection = ClientConnection::new(Arc::clone(&self.0), name).map_err(|e| fault(e.to_string()))?;
        let mut socket = TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket).map_err(|error| LayerFault::mark(Layer::Tls, ureq::Error::from(error)))?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers, stream: StreamOwned::new(connection, socket) })))
    }
}

/// An established TLS connection.
pub(super) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
