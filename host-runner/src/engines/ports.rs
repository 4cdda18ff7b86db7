//! The machine's ports on which guests' ports are published: on loopback alone.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use api::{PortRequest, PublishedPort};

use super::EngineError;

/// Chooses a free port of the machine's loopback wherever none is asked for: the one that was published `before`, where it is free still.
///
/// Another program can still take one before the engine does; the engine then says so, and the launch is tried again with others.
pub fn choose_ports(
    wanted: &[PortRequest],
    before: &[PublishedPort],
) -> Result<Vec<PublishedPort>, EngineError> {
    // The listeners are kept until all ports are chosen, so that none is chosen twice.
    let mut held = Vec::with_capacity(wanted.len());
    let mut published = Vec::with_capacity(wanted.len());
    for request in wanted {
        let asked = request.host.unwrap_or(0);
        let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let earlier = before.iter().find(|port| port.guest == request.guest);
        let kept = earlier
            .filter(|_| asked == 0)
            .and_then(|port| bind(port.host).ok());
        let listener = match kept {
            Some(listener) => listener,
            None => bind(asked).map_err(|err| match err.kind() {
                io::ErrorKind::AddrInUse => EngineError::PortTaken { port: asked },
                _ => EngineError::Port { port: asked, err },
            })?,
        };
        let address = listener
            .local_addr()
            .map_err(|err| EngineError::Port { port: asked, err })?;
        published.push(PublishedPort {
            guest: request.guest,
            host: address.port(),
        });
        held.push(listener);
    }
    Ok(published)
}

#[cfg(test)]
mod tests {
    use api::ErrorCode;

    use super::*;

    #[test]
    fn chosen_ports_are_free_and_differ() {
        let wanted = [80, 22].map(|guest| PortRequest { guest, host: None });
        let published = choose_ports(&wanted, &[]).unwrap();
        assert_eq!(published.len(), 2);
        assert_ne!(published[0].host, published[1].host);
        for port in published {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port.host)).unwrap();
        }
    }

    #[test]
    fn a_port_that_was_chosen_before_is_kept_while_it_is_free_and_goes_with_its_guests_port() {
        let wanted = [80, 22].map(|guest| PortRequest { guest, host: None });
        let first = choose_ports(&wanted, &[]).unwrap();
        let turned = [wanted[1], wanted[0]];
        let again = choose_ports(&turned, &first).unwrap();
        assert_eq!(again, [first[1], first[0]]);
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first[0].host)).unwrap();
        let other = choose_ports(&wanted, &first).unwrap();
        assert_ne!(other[0], first[0]);
        assert_eq!(other[1], first[1]);
    }

    #[test]
    fn a_fixed_port_in_use_is_refused_by_name() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let host = taken.local_addr().unwrap().port();
        let wanted = [PortRequest {
            guest: 80,
            host: Some(host),
        }];
        let error = choose_ports(&wanted, &[]).unwrap_err().to_api();
        assert_eq!(error.code, ErrorCode::PortTaken);
        assert_eq!(error.details["port"], u32::from(host).into());
    }
}
