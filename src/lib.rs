//! sealock lets browsers reach TCP services that know nothing of WebSocket.
