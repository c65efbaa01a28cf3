"""A headless Chromium for tests, driven by the DevTools protocol over a pipe: no driver program, no other library."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_TIMEOUT_S = 60


class Page:
    """One tab.

    Attributes:
        problems: Console errors, warnings and exceptions so far, as text.
        requests: Addresses of everything that the page asked for, the page itself first.
    """

    def __init__(self, write: int, read: int, width: int, height: int) -> None:
        self._write, self._read, self._session, self._last = write, read, None, 0
        self._waiting = b""
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._send(f"{domain}.enable")
        self._send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, url: str, until: str) -> None:
        """Go to `url` and wait until the JavaScript expression `until` holds there."""
        self._send("Page.navigate", url=url)
        self.wait(
            lambda: self.run(f"location.href !== 'about:blank' && document.body !== null && {until}"), f"{url}: {until}"
        )

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until `condition` holds."""
        end = time.monotonic() + _TIMEOUT_S
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{what}; problems: {self.problems}")
            time.sleep(0.05)

    def move_mouse(self, x: float, y: float) -> None:
        """Point at a place of the window, in pixels."""
        self._send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """Write a PNG of the window, or of the whole page."""
        answer = self._send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def print_pdf(self, path: Path) -> None:
        """Write the page as it would be printed."""
        answer = self._send("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _send(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        session = {"sessionId": self._session} if self._session else {}
        message = json.dumps({"id": self._last, "method": method, "params": params} | session)
        os.write(self._write, message.encode() + b"\0")
        for answer in self._messages():
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
        raise RuntimeError(f"{method}: Chromium went away")

    def _messages(self) -> Iterator[dict[str, Any]]:
        while True:
            while b"\0" not in self._waiting:
                if not select.select([self._read], [], [], _TIMEOUT_S)[0]:
                    raise TimeoutError(f"Chromium says nothing for {_TIMEOUT_S} s; problems: {self.problems}")
                if not (more := os.read(self._read, 1 << 20)):
                    return
                self._waiting += more
            text, self._waiting = self._waiting.split(b"\0", 1)
            message = json.loads(text)
            self._note(message.get("method"), message.get("params"))
            yield message

    def _note(self, method: str | None, event: Any) -> None:
        if method == "Network.requestWillBeSent" and not event["request"]["url"].startswith("about:"):
            self.requests.append(event["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(event["exceptionDetails"].get("exception", {}).get("description") or str(event))
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            self.problems.append(
                f"{event['type']}: {[part.get('value', part.get('description')) for part in event['args']]}"
            )
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{event['entry']['text']} {event['entry'].get('url', '')}")


@contextlib.contextmanager
def chromium_page(width: int = 1280, height: int = 900) -> Iterator[Page]:
    """A fresh browser with one tab; skips the test, loudly, where there is no Chromium."""
    if BINARY is None:
        pytest.skip("NO BROWSER TEST: no chromium found; install it, on Debian with: apt-get install chromium")
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        command = [BINARY, *_FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        script = f'exec "$@" 3<&{to_read} 4>&{from_write}'  # DevTools listens on 3 and answers on 4
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            pass_fds=(to_read, from_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(from_write)
        try:
            yield Page(to_write, from_read, width, height)
        finally:
            os.close(to_write)  # Chromium ends when the pipe does
            os.close(from_read)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
