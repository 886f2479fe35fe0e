//! A proxy between an echo and whoever dials it.

use super::*;

/// Longer than anything on loopback takes, shorter than anybody's patience.
const SOON: Duration = Duration::from_millis(1_500);
/// In this time nothing may arrive that is held back.
const NOT_YET: Duration = Duration::from_millis(150);

struct Rig {
    there: Arc<Way>,
    back: Arc<Way>,
    proxy: Proxy,
}

impl Rig {
    async fn build() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _gone = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let (there, back) = (Arc::new(Way::new(1)), Arc::new(Way::new(2)));
        let proxy = Proxy::open(target, Arc::clone(&there), Arc::clone(&back));
        Self {
            proxy: proxy.await.unwrap(),
            there,
            back,
        }
    }

    async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.proxy.address).await.unwrap()
    }
}

async fn echo(stream: &mut TcpStream, text: &[u8]) -> io::Result<()> {
    stream.write_all(text).await?;
    hear(stream, text).await
}

async fn hear(stream: &mut TcpStream, text: &[u8]) -> io::Result<()> {
    let mut heard = vec![0; text.len()];
    let read = tokio::time::timeout(SOON, stream.read_exact(&mut heard)).await;
    read.map_err(io::Error::other)??;
    assert_eq!(heard, text);
    Ok(())
}

async fn hears_nothing(stream: &mut TcpStream) {
    let mut byte = [0];
    let read = tokio::time::timeout(NOT_YET, stream.read(&mut byte)).await;
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn bytes_pass_and_a_delay_delays_them() {
    let rig = Rig::build().await;
    let mut stream = rig.dial().await;
    echo(&mut stream, b"hello").await.unwrap();
    assert_eq!((rig.there.bytes(), rig.back.bytes()), (5, 5));
    rig.there.change(|rule| rule.delay_ms = 120);
    rig.back.change(|rule| rule.delay_ms = 120);
    let began = Instant::now();
    echo(&mut stream, b"later").await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(240));
    // What is on its way arrives in order, however much its delays differ.
    rig.there.change(|rule| rule.jitter_ms = 60);
    for piece in [b"a", b"b", b"c", b"d"] {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    hear(&mut stream, b"abcd").await.unwrap();
}

#[tokio::test]
async fn a_cut_in_one_direction_holds_back_and_loses_nothing() {
    let rig = Rig::build().await;
    let mut stream = rig.dial().await;
    echo(&mut stream, b"before").await.unwrap();
    rig.back.change(|rule| rule.is_cut = true);
    stream.write_all(b"during").await.unwrap();
    hears_nothing(&mut stream).await;
    assert_eq!(rig.there.bytes(), 12, "the other direction is open");
    assert!(rig.back.held() > 0);
    rig.back.change(|rule| rule.is_cut = false);
    hear(&mut stream, b"during").await.unwrap();
    echo(&mut stream, b"after").await.unwrap();
}

#[tokio::test]
async fn behind_a_cut_nobody_connects_and_no_end_is_seen() {
    let rig = Rig::build().await;
    let mut old = rig.dial().await;
    echo(&mut old, b"x").await.unwrap();
    rig.there.change(|rule| rule.is_cut = true);
    let mut new = rig.dial().await;
    new.write_all(b"hello").await.unwrap();
    hears_nothing(&mut new).await;
    // The echo's end of the old connection must not hear that this end is gone.
    old.shutdown().await.unwrap();
    hears_nothing(&mut old).await;
    rig.there.change(|rule| rule.is_cut = false);
    hear(&mut new, b"hello").await.unwrap();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(SOON, old.read_to_end(&mut rest)).await;
    assert_eq!(end.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_reset_ends_connections_and_new_ones_work() {
    let rig = Rig::build().await;
    let mut stream = rig.dial().await;
    echo(&mut stream, b"x").await.unwrap();
    rig.back.reset();
    let mut byte = [0];
    let read = tokio::time::timeout(SOON, stream.read(&mut byte))
        .await
        .unwrap();
    assert!(read.is_err(), "a reset is no end of file: {read:?}");
    assert_eq!(rig.there.closed(), 1);
    echo(&mut rig.dial().await, b"again").await.unwrap();
}

#[tokio::test]
async fn a_half_closed_connection_ends_in_one_direction_only() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (there, back) = (Arc::new(Way::new(1)), Arc::new(Way::new(2)));
    let target = listener.local_addr().unwrap();
    let proxy = Proxy::open(target, Arc::clone(&there), Arc::clone(&back));
    let proxy = proxy.await.unwrap();
    let mut dialler = TcpStream::connect(proxy.address).await.unwrap();
    let (mut accepted, _) = listener.accept().await.unwrap();
    dialler.write_all(b"one").await.unwrap();
    hear(&mut accepted, b"one").await.unwrap();
    there.half_close();
    let mut byte = [0];
    let end = tokio::time::timeout(SOON, accepted.read(&mut byte)).await;
    assert_eq!(end.unwrap().unwrap(), 0, "this direction has ended");
    accepted.write_all(b"two").await.unwrap();
    hear(&mut dialler, b"two").await.unwrap();
    assert_eq!(there.closed(), 1);
}
