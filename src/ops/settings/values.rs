//! Texts that must hold more than words: URLs, paths, addresses. Each function takes the value in or answers with what to
//! write instead.

use std::path::PathBuf;

use super::{SecretUrl, Settings};

pub(super) fn price_url(settings: &mut Settings, url: &str) -> Result<(), String> {
    settings.prices.url = stream_base(url, "put the path into prices.path")?;
    Ok(())
}

pub(super) fn private_url(settings: &mut Settings, url: &str) -> Result<(), String> {
    settings.user_data.url = stream_base(url, "choose the path with user_data.spelling")?;
    Ok(())
}

fn stream_base(url: &str, path_remedy: &str) -> Result<String, String> {
    let Some(rest) = url.strip_prefix("wss://") else {
        return Err("the stream always runs over TLS: begin with wss://".to_owned());
    };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    if host.contains(['/', '?', '#']) {
        return Err(format!("write host and port only, and {path_remedy}"));
    }
    check_authority(host)?;
    Ok(format!("wss://{host}"))
}

pub(super) fn price_path(settings: &mut Settings, path: &str) -> Result<(), String> {
    let printable = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !path.is_empty() && (!path.starts_with('/') || !printable) {
        return Err("begin with / and use printable ASCII without blanks or #, percent-encoded where needed".to_owned());
    }
    settings.prices.path = (!path.is_empty()).then(|| path.to_owned());
    Ok(())
}

pub(super) fn store_url(settings: &mut Settings, url: &str) -> Result<(), String> {
    let url = SecretUrl::new(url);
    match url.scheme() {
        "sqlite" if url.expose().len() > "sqlite:".len() => {}
        "sqlite" => return Err("name the file: sqlite:kraite-streams.sqlite".to_owned()),
        "postgres" | "postgresql" if !url.expose().contains("://") => {
            return Err("write postgres://user@host:5432/database".to_owned());
        }
        "postgres" | "postgresql" => {}
        "mysql" | "mariadb" => {
            return Err(
                "prices go to PostgreSQL or SQLite, not to MySQL; README says how to move the tables".to_owned()
            );
        }
        _ => return Err("begin with postgres:// or sqlite:".to_owned()),
    }
    settings.store.url = url;
    Ok(())
}

pub(super) fn rest_base(base: &str) -> Result<String, String> {
    let base = base.strip_suffix('/').unwrap_or(base);
    let host = match base.split_once("://") {
        Some(("https", host)) => host,
        Some(("http", host)) if is_loopback(host) => host,
        Some(("http", _)) => return Err("http:// is for loopback only: begin with https://".to_owned()),
        _ => return Err("begin with https://".to_owned()),
    };
    if host.contains(['/', '?', '#']) {
        return Err("write scheme, host and port only, without a path".to_owned());
    }
    check_authority(host)?;
    Ok(base.to_owned())
}

fn is_loopback(authority: &str) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Host, or host and port: no user, nothing that a host name cannot hold.
pub(super) fn check_authority(authority: &str) -> Result<(), String> {
    let bracketed = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host_fits, port) = match bracketed {
        Some((host, port)) => (
            host.parse::<std::net::Ipv6Addr>().is_ok(),
            port.strip_prefix(':').or(match port {
                "" => None,
                other => Some(other),
            }),
        ),
        None => {
            let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            (!host.is_empty() && host.bytes().all(fits), port)
        }
    };
    if !host_fits {
        return Err("write a host name or an address, without user or blanks".to_owned());
    }
    match port {
        Some(port) if !port.parse::<u16>().is_ok_and(|port| port > 0) => Err("write a port from 1 to 65535".to_owned()),
        _ => Ok(()),
    }
}

pub(super) fn status_file(settings: &mut Settings, path: &str) -> Result<(), String> {
    if path.is_empty() || path.ends_with('/') {
        return Err("name a file in a writable folder".to_owned());
    }
    settings.ops.status_file = PathBuf::from(path);
    Ok(())
}

pub(super) fn connect_file(settings: &mut Settings, path: &str) -> Result<(), String> {
    if path.is_empty() || path.ends_with('/') {
        return Err("name a file in a writable folder".to_owned());
    }
    settings.net.connect_file = PathBuf::from(path);
    Ok(())
}

pub(super) fn weight_file(settings: &mut Settings, path: &str) -> Result<(), String> {
    if path.is_empty() || path.ends_with('/') {
        return Err("name a file in a writable folder".to_owned());
    }
    settings.net.weight_file = PathBuf::from(path);
    Ok(())
}

pub(super) fn spool_folder(settings: &mut Settings, path: &str) -> Result<(), String> {
    if path.trim_end_matches('/').is_empty() {
        return Err("name a folder of the spool's own".to_owned());
    }
    settings.spool.folder = PathBuf::from(path);
    Ok(())
}

pub(super) fn page(settings: &mut Settings, address: &str) -> Result<(), String> {
    settings.ops.page = match address {
        "off" => None,
        address => Some(address.parse().map_err(|_| "write IP address and port, or \"off\"".to_owned())?),
    };
    Ok(())
}
