//! Connects to withheld instances and reports what came of it. Decides nothing: [`crate::catalog::probe`] does,
//! and bounds how many connections there are at once.

use std::collections::HashMap;
use std::future::Future;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::catalog::probe::{AT_ONCE, Answer, Answered, Question, TIMEOUT};

/// The hub's end: questions go out, answers come in.
pub type HubEnd = (mpsc::Sender<Question>, mpsc::Receiver<Answered>);

/// The prober's end.
pub type ProberEnd = (mpsc::Receiver<Question>, mpsc::Sender<Answered>);

/// Sources that there is room for in any case: some may come later.
const SOURCES: usize = 16;

/// Channels for the questions and answers of a hub with this many sources.
#[must_use]
pub fn channels(sources: usize) -> (HubEnd, ProberEnd) {
    let room = AT_ONCE * sources.max(SOURCES);
    let (questions, asked) = mpsc::channel(room);
    let (answers, answered) = mpsc::channel(room);
    ((questions, answered), (asked, answers))
}

/// Answers questions until `stop`.
pub async fn run(end: ProberEnd, stop: CancellationToken) {
    run_with(end, stop, probe).await;
}

/// Each question gets an answer: one without would be awaited forever, in a place that others need.
async fn run_with<F>((mut asked, answers): ProberEnd, stop: CancellationToken, probe: impl Fn(Question) -> F)
where
    F: Future<Output = Answer> + Send + 'static,
{
    let mut connecting = JoinSet::new();
    let mut questions: HashMap<Id, Question> = HashMap::new();
    loop {
        let (id, answer) = tokio::select! {
            () = stop.cancelled() => return,
            question = asked.recv() => match question {
                Some(question) => {
                    let task = connecting.spawn(probe(question.clone()));
                    questions.insert(task.id(), question);
                    continue;
                }
                None => return,
            },
            Some(done) = connecting.join_next_with_id() => match done {
                Ok(done) => done,
                Err(error) => {
                    tracing::error!(%error, "a probe failed");
                    (error.id(), Answer::Silent)
                }
            },
        };
        if let Some(question) = questions.remove(&id)
            && answers.send(Answered { question, answer }).await.is_err()
        {
            return;
        }
    }
}

/// The connection is closed at once: a server with one thread would wait for its request.
async fn probe(question: Question) -> Answer {
    let connected = tokio::time::timeout(TIMEOUT, TcpStream::connect(question.address)).await;
    let answer = match &connected {
        Ok(Ok(stream)) if is_own(stream) => Answer::Refused,
        Ok(Ok(_)) => Answer::Accepted,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Answer::Refused,
        Ok(Err(_)) | Err(_) => Answer::Silent,
    };
    tracing::trace!(source = %question.source, address = %question.address, ?answer, "probed");
    answer
}

/// On the local host a connection to a free port may meet itself, if the kernel gives it that very port.
fn is_own(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::TcpListener;

    use super::*;

    async fn answer(address: SocketAddr) -> Answer {
        let ((questions, mut answered), shell) = channels(1);
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(shell, stop.clone()));
        let question = Question {
            source: "s".into(),
            address,
        };
        questions.send(question.clone()).await.expect("it runs");
        let got = answered.recv().await.expect("an answer");
        assert_eq!(got.question, question);
        stop.cancel();
        running.await.expect("it ends");
        got.answer
    }

    #[tokio::test]
    async fn it_reports_what_came_of_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        assert_eq!(answer(address).await, Answer::Accepted);
        drop(listener);
        assert_eq!(answer(address).await, Answer::Refused);
        let nowhere = SocketAddr::from(([255, 255, 255, 255], 9));
        assert_eq!(answer(nowhere).await, Answer::Silent);
    }

    #[tokio::test]
    async fn a_probe_that_panics_is_answered_all_the_same() {
        let ((questions, mut answered), shell) = channels(1);
        let stop = CancellationToken::new();
        let panics = async |_| panic!("by the test");
        let running = tokio::spawn(run_with(shell, stop.clone(), panics));
        let question = Question {
            source: "s".into(),
            address: SocketAddr::from(([127, 0, 0, 1], 9)),
        };
        questions.send(question.clone()).await.expect("it runs");
        let got = answered.recv().await.expect("an answer");
        assert_eq!((got.question, got.answer), (question, Answer::Silent));
        stop.cancel();
        running.await.expect("it ends");
    }
}
