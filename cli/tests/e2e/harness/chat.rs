//! Chat completions through a gateway, whole and streamed.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use super::http::{Answer, Connection, Failure, Request, Response, path};

/// A model behind a gateway.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The base URL of the OpenAI API, without a slash at its end.
    pub(crate) base: String,
    pub(crate) model: String,
    pub(crate) token: Option<String>,
}

/// What one completion was.
#[derive(Debug)]
pub(crate) struct Completion {
    /// Which replica answered.
    pub(crate) replica: String,
    pub(crate) usage: Value,
}

impl Endpoint {
    /// Returns a request for a completion.
    pub(crate) fn request(&self, prompt: &str, tokens: u32, stream: bool) -> Request {
        let body = json!({
            "model": self.model,
            "stream": stream,
            "max_tokens": tokens,
            "ignore_eos": true,
            "messages": [{ "role": "user", "content": prompt }],
        });
        let request = Request::new("POST", format!("{}/chat/completions", path(&self.base))).json(&body);
        match &self.token {
            Some(token) => request.header("authorization", &format!("Bearer {token}")),
            None => request,
        }
    }

    /// Asks for a short completion over a connection of its own.
    pub(crate) fn ask(&self, prompt: &str) -> Result<Completion, Failure> {
        self.ask_for(4, prompt)
    }

    /// Asks for a completion of this many tokens over a connection of its own.
    pub(crate) fn ask_for(&self, tokens: u32, prompt: &str) -> Result<Completion, Failure> {
        let request = self.request(prompt, tokens, false).header("connection", "close");
        let (response, _) = Connection::open(&self.base)?.send(&request)?.whole()?;
        completion(&response)
    }

    /// Asks for a short completion over an earlier connection, if there is one, and gives it back if it may be kept.
    pub(crate) fn ask_over(
        &self,
        connection: Option<Connection>,
        prompt: &str,
    ) -> Result<(Completion, Option<Connection>), Failure> {
        let connection = connection.map_or_else(|| Connection::open(&self.base), Ok)?;
        let (response, connection) = connection.send(&self.request(prompt, 4, false))?.whole()?;
        Ok((completion(&response)?, connection))
    }

    /// Starts a streamed completion of exactly this many tokens.
    pub(crate) fn stream(&self, prompt: &str, tokens: u32) -> Result<ChatStream, Failure> {
        let request = self.request(prompt, tokens, true).header("connection", "close");
        let answer = Connection::open(&self.base)?.send(&request)?;
        if answer.status != 200 {
            let (response, _) = answer.whole()?;
            return Err(format!("{}: {}", response.status, response.text()));
        }
        let replica = answer
            .header("x-replica")
            .ok_or("the answer has no x-replica")?
            .to_owned();
        Ok(ChatStream {
            replica,
            expected: tokens,
            tokens: 0,
            done: false,
            lines: BufReader::new(answer),
        })
    }
}

fn completion(response: &Response) -> Result<Completion, Failure> {
    if response.status != 200 {
        return Err(format!("{}: {}", response.status, response.text()));
    }
    let body = response.json()?;
    if body["choices"][0]["message"]["content"]
        .as_str()
        .is_none_or(str::is_empty)
    {
        return Err(format!("no content: {body}"));
    }
    let replica = response
        .header("x-replica")
        .ok_or("the answer has no x-replica")?
        .to_owned();
    Ok(Completion {
        replica,
        usage: body["usage"].clone(),
    })
}

/// A completion that is being streamed.
pub(crate) struct ChatStream {
    /// Which replica answers.
    pub(crate) replica: String,
    expected: u32,
    tokens: u32,
    done: bool,
    lines: BufReader<Answer>,
}

impl ChatStream {
    /// Reads on to the next token; `None` at the stream's proper end.
    pub(crate) fn next_token(&mut self) -> Result<Option<String>, Failure> {
        let broke_off = |tokens, why: &str| format!("the stream broke off after {tokens} tokens: {why}");
        let mut line = String::new();
        loop {
            line.clear();
            match self.lines.read_line(&mut line) {
                Ok(0) if self.done => return Ok(None),
                Ok(0) => return Err(broke_off(self.tokens, "no [DONE]")),
                Ok(_) => {}
                Err(error) => return Err(broke_off(self.tokens, &error.to_string())),
            }
            let Some(data) = line.strip_prefix("data:").map(str::trim) else {
                continue;
            };
            if data == "[DONE]" {
                self.done = true;
                continue;
            }
            let event: Value = serde_json::from_str(data).map_err(|error| format!("{error}: {data}"))?;
            match event["choices"][0]["delta"]["content"].as_str() {
                Some(text) if !text.is_empty() => {
                    self.tokens += 1;
                    return Ok(Some(text.to_owned()));
                }
                _ => {}
            }
        }
    }

    /// Reads to the end; every token must have come.
    pub(crate) fn finish(mut self) -> Result<u32, Failure> {
        while self.next_token()?.is_some() {}
        if self.tokens == self.expected {
            Ok(self.tokens)
        } else {
            Err(format!(
                "the stream ended after {} of {} tokens",
                self.tokens, self.expected
            ))
        }
    }
}
