//! Authentication of servers: each proves that it knows the cluster's secret, by mutual challenge and response with
//! keyed BLAKE3.
//!
//! ```text
//! dialler                                    accepter
//!   hello (ids, nonce)            ──────▶
//!                                 ◀──────    challenge (nonce)
//!   proof                         ──────▶
//!                                 ◀──────    proof, its layout
//!   frames under the session key  ══════▶
//! ```
//!
//! A proof is a keyed hash over its direction, the cluster's name, both ids and both nonces. So a recorded proof is not
//! valid for a later connection (replay), a proof of one side is not valid as the other side's (reflection), and a
//! proof for one server is not valid for another. The dialler proves itself first: a dialler without the secret
//! receives nothing that is derived from it. The session key is derived from the same data, and seals what follows
//! ([`sealed`](super::sealed)).
//!
//! Caveats: nothing is encrypted. Anyone who listens on the network, or on a server's address, can guess a weak secret
//! offline. This is why there is a minimum length, and why `seaworthy secret` generates one. There is no forward
//! secrecy.

use super::config::TcpConfig;
use super::handshake::{Hello, HelloError, Nonce, Turned};
use super::sealed::SessionKey;
use super::secret::Secret;
use crate::mutant::Bug;
use crate::types::{Lane, NodeId, Rng};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes in the verdict of the accepting side: 0 or its reason to refuse the dialler, its layout, its proof.
const VERDICT_BYTES: usize = 1 + 8 + 32;

/// The data that every proof of one connection covers.
struct Talk<'a> {
    config: &'a TcpConfig,
    ids: (NodeId, NodeId),
    nonces: (Nonce, Nonce),
}

impl Talk<'_> {
    fn hash(&self, what: &[u8; 6], more: &[u8]) -> blake3::Hash {
        let ignored = self.config.mutant.is(Bug::SecretIgnored);
        let key = if ignored { Secret::none() } else { self.config.secret.clone() };
        let mut hasher = blake3::Hasher::new_keyed(&key.0);
        hasher.update(what).update(&self.config.cluster.padded());
        hasher.update(&self.ids.0.0.to_le_bytes()).update(&self.ids.1.0.to_le_bytes());
        hasher.update(&self.nonces.0.0).update(&self.nonces.1.0).update(more);
        hasher.finalize()
    }

    fn dialler(&self) -> blake3::Hash {
        self.hash(b"dialer", &[])
    }

    fn accepter(&self, layout: [u8; 8]) -> blake3::Hash {
        self.hash(b"accept", &layout)
    }

    fn key(&self) -> SessionKey {
        *self.hash(b"frames", &[]).as_bytes()
    }
}

/// The dialling side: proves itself to `peer` and checks the peer's proof. Returns the session key and the peer's
/// layout.
pub(super) async fn dial(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    config: &TcpConfig,
    (peer, lane): (NodeId, Lane),
    rng: &mut Rng,
) -> Result<(SessionKey, u64), HelloError> {
    let nonce = Nonce::draw(rng);
    Hello::Server { node: config.id, to: peer, lane, nonce }.write(stream).await?;
    let theirs = match Hello::read(stream).await? {
        Hello::Challenge { node, nonce } if node == peer => nonce,
        Hello::Refused(why) => return Err(HelloError::Turned(why)),
        other => return Err(HelloError::Unwanted(format!("not {peer} answers there: {other:?}"))),
    };
    let talk = Talk { config, ids: (config.id, peer), nonces: (nonce, theirs) };
    stream.write_all(talk.dialler().as_bytes()).await?;
    stream.flush().await?;
    let mut verdict = [0; VERDICT_BYTES];
    stream.read_exact(&mut verdict).await?;
    if let Some(why) = Turned::of(verdict[0]) {
        return Err(HelloError::Turned(why));
    }
    let (mut layout, mut proof) = ([0; 8], [0; 32]);
    layout.copy_from_slice(&verdict[1..9]);
    proof.copy_from_slice(&verdict[9..]);
    // In constant time, as `blake3::Hash` compares.
    if talk.accepter(layout) != proof {
        let why = format!("whoever answers for {peer} does not know this cluster's secret");
        return Err(HelloError::Unwanted(why));
    }
    Ok((talk.key(), u64::from_le_bytes(layout)))
}

/// The accepting side: checks the proof of a dialler that claims to be `peer`, then proves itself.
pub(super) async fn accept(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    config: &TcpConfig,
    (peer, theirs): (NodeId, Nonce),
    nonce: Nonce,
) -> Result<SessionKey, HelloError> {
    Hello::Challenge { node: config.id, nonce }.write(stream).await?;
    let talk = Talk { config, ids: (peer, config.id), nonces: (theirs, nonce) };
    let mut proof = [0; 32];
    stream.read_exact(&mut proof).await?;
    let mut verdict = [0; VERDICT_BYTES];
    let proven = talk.dialler() == proof;
    if proven {
        let layout = config.layout.to_le_bytes();
        verdict[1..9].copy_from_slice(&layout);
        verdict[9..].copy_from_slice(talk.accepter(layout).as_bytes());
    } else {
        verdict[0] = Turned::Unproven as u8;
    }
    stream.write_all(&verdict).await?;
    stream.flush().await?;
    if proven {
        return Ok(talk.key());
    }
    Err(HelloError::Unwanted(format!("claims to be {peer} and cannot prove it: another cluster name or secret")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tcp::tests::config;

    fn pair() -> (TcpConfig, TcpConfig) {
        let nodes = [(1, "a:1".to_owned()), (2, "b:1".to_owned())];
        (config(1, "a:1", &nodes), config(2, "b:1", &nodes))
    }

    type Ends = (Result<(SessionKey, u64), HelloError>, Result<SessionKey, HelloError>);

    /// n1 dials n2 over a pipe.
    async fn shake(n1: &TcpConfig, n2: &TcpConfig) -> Ends {
        let (mut near, mut far) = tokio::io::duplex(1024);
        let mut rng = Rng::new(1, "dials");
        let accepting = async {
            let Ok(Hello::Server { node, nonce, .. }) = Hello::read(&mut far).await else { panic!("no hello") };
            let result = accept(&mut far, n2, (node, nonce), Nonce([5; 32])).await;
            drop(far);
            result
        };
        tokio::join!(biased; dial(&mut near, n1, (n2.id, Lane::Control), &mut rng), accepting)
    }

    #[tokio::test]
    async fn who_knows_the_secret_gets_the_same_key_and_the_layout() {
        let (n1, n2) = pair();
        let (dialled, accepted) = shake(&n1, &n2).await;
        let (key, layout) = dialled.expect("proven");
        assert_eq!((key, layout), (accepted.expect("proven"), n2.layout));
    }

    #[tokio::test]
    async fn another_secret_name_or_id_is_refused_by_both() {
        let (n1, n2) = pair();
        let secret = Secret::new(b"quite another secret").expect("long enough");
        let strangers = [
            TcpConfig { secret, ..n1.clone() },
            TcpConfig { secret: Secret::none(), ..n1.clone() },
            TcpConfig { cluster: "elsewhere".parse().expect("valid"), ..n1 },
        ];
        for stranger in strangers {
            let (dialled, accepted) = shake(&stranger, &n2).await;
            assert!(matches!(dialled, Err(HelloError::Turned(Turned::Unproven))), "{dialled:?}");
            assert!(matches!(accepted, Err(HelloError::Unwanted(_))), "{accepted:?}");
        }
    }

    #[test]
    fn a_proof_fits_one_direction_one_pair_and_one_connection() {
        let (n1, _) = pair();
        let talk = |ids: (u32, u32), nonces: (u8, u8)| Talk {
            config: &n1,
            ids: (NodeId(ids.0), NodeId(ids.1)),
            nonces: (Nonce([nonces.0; 32]), Nonce([nonces.1; 32])),
        };
        let one = talk((1, 2), (3, 4));
        let layout = n1.layout.to_le_bytes();
        let others = [
            one.accepter(layout),
            one.accepter([0; 8]),
            blake3::Hash::from_bytes(one.key()),
            talk((2, 1), (4, 3)).dialler(),
            talk((2, 1), (3, 4)).dialler(),
            talk((1, 3), (3, 4)).dialler(),
            talk((1, 2), (3, 5)).dialler(),
            talk((1, 2), (5, 4)).dialler(),
        ];
        assert!(others.iter().all(|other| *other != one.dialler()));
    }

    #[test]
    fn a_short_secret_is_none_and_no_secret_is_shown() {
        assert!(Secret::new(b"  fifteen bytes..  \n").is_err());
        let secret = Secret::new(b" sixteen bytes... \n").expect("long enough");
        assert_eq!(secret, Secret::new(b"sixteen bytes...").expect("the same without white space"));
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
