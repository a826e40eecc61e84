"""HTTP to a DICOMweb server: time-outs, repeats with back-off, redirects to the same origin only, nothing logged.

The address and the query may name a site or a patient: they never stand in an error, nor do messages of the server.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import logging
import math
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from claimed_med.dicom.web_auth import PREFIX, Credentials, check_address, is_loopback
from claimed_med.dicom.web_deadline import Deadline
from claimed_med.dicom.web_multipart import CHUNK, NotMultipart
from claimed_med.errors import ClaimedMedError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from claimed_med.dicom.web_multipart import Body

JSON = "application/dicom+json"
_WHERE = "dicomweb"
_REPEATED = frozenset({408, 429, 500, 502, 503, 504})
_REDIRECTS, _SAME_METHOD, _MOST_REDIRECTS = frozenset({301, 302, 303, 307, 308}), frozenset({307, 308}), 5
_LARGEST_JSON = 256 << 20
_DENIED = frozenset({401, 403})
_BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


@dataclass(frozen=True)
class Patience:
    """How long and how often to try.

    Attributes:
        attempts: Tries of one request, the first included.
        first_s: Longest wait before the second try [s]; it doubles with each try.
        longest_s: Longest wait of all [s], also where the archive asks for more (Retry-After).
        connect_s: Time-out of a connection [s].
        read_s: Time-out of the silence of a server [s].
        whole_s: Time for everything that is asked through one `Archive` [s], however much the server talks.
        most_bytes: Most bytes of objects that are received; 0 for any number.
    """

    attempts: int = 6
    first_s: float = 1.0
    longest_s: float = 60.0
    connect_s: float = 10.0
    read_s: float = 120.0
    whole_s: float = math.inf
    most_bytes: int = 0

    def wait_s(self, tried: int, asked_s: float = 0.0) -> float:
        """How long to wait after so many tries [s]: half fixed, half by chance, and never less than was asked for."""
        bound = min(self.longest_s, self.first_s * 2 ** (tried - 1))
        chance = secrets.randbelow(1001) / 1000
        return min(self.longest_s, max(asked_s, bound * (0.5 + 0.5 * chance)))


class TooMuch(InputError):  # noqa: N818 - says what happened
    """A server sends more bytes than were allowed."""


class Busy(Exception):  # noqa: N818 - says that a repeat may help
    """The server did not answer, or could not serve now.

    Attributes:
        what: What happened, for an error text.
        status: HTTP status, 0 where there was no answer.
        asked_s: How long the archive asks to wait [s], 0 when it says nothing.
    """

    def __init__(self, what: str, status: int = 0, asked_s: float = 0.0) -> None:
        super().__init__(what)
        self.what, self.status, self.asked_s = what, status, asked_s


@dataclass
class Transport:
    """Requests to one server.

    Attributes:
        url: Of the DICOMweb service.
        credentials: What proves who we are.
        patience: How long and how often to try.
        error: Class of the errors that are raised.
        n_connections: Most connections at a time.
    """

    url: str = field(repr=False)
    credentials: Credentials = field(default_factory=Credentials)
    patience: Patience = field(default_factory=Patience)
    error: type[ClaimedMedError] = InputError
    n_connections: int = 4

    def __post_init__(self) -> None:
        """Check the address and open a session; nothing is sent yet."""
        check_address(self.url, self.credentials)
        for name in ("urllib3", "requests", "charset_normalizer"):  # they log addresses and queries
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.url = self.url.rstrip("/")
        self._deadline, self._n_bytes = Deadline(self.patience.whole_s), 0
        self._session = requests.Session()
        self._session.trust_env = False  # no password from a .netrc, no proxy on the way to this machine
        if not is_loopback(urlsplit(self.url).hostname or ""):
            self._session.proxies.update(get_environ_proxies(self.url))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=self.n_connections))
        if self.credentials.authorization:
            self._session.headers["Authorization"] = self.credentials.authorization
        if self.credentials.certificate:
            key = self.credentials.key
            self._session.cert = (self.credentials.certificate, key) if key else self.credentials.certificate
        self._session.verify = self.credentials.authority or True
        self._deadline.watch(self._session)

    def close(self) -> None:
        """Close all connections."""
        self._deadline.cancel()
        self._session.close()

    @contextlib.contextmanager
    def once(
        self, path: str, accept: str, params: Mapping[str, str] | None = None, body: Body | None = None
    ) -> Iterator[requests.Response]:
        """Send one request, GET or (with a body) POST; the answer is open inside the block.

        Raises:
            Busy: It may help to try again; also for a connection that breaks inside the block.
            ClaimedMedError: It will not help: the archive cannot be trusted, or redirects elsewhere.
        """
        self._check_time()
        try:
            with self._send(path, accept, params, body) as response:
                self._check_time()  # an answer that was cut off is not judged
                status = response.status_code
                if status in _REPEATED:
                    raise Busy(f"the archive cannot serve now (HTTP status {status})", status, _asked_s(response))
                if status in _DENIED:
                    do = f"set {PREFIX}TOKEN_FILE, or {PREFIX}USER and {PREFIX}PASSWORD_FILE"
                    raise self.fail("the archive denies access", got=f"HTTP status {status}", do=do)
                yield response
        except requests.exceptions.SSLError:
            raise self.fail("TLS fails: server or client certificate is not accepted") from None
        except NotMultipart:
            raise Busy("the answer ends in the middle of an object") from None
        except _BROKEN as error:
            raise Busy(f"the archive does not answer, or breaks off ({type(error).__name__})") from None
        except requests.RequestException as error:
            raise self.fail("the request fails", got=type(error).__name__) from None

    def json(self, path: str, params: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """GET a JSON document, tried again as patience allows: HTTP status, and the document (None when empty).

        Raises:
            ClaimedMedError: The server does not answer, or not in JSON.
        """
        for tried in range(1, self.patience.attempts + 1):
            try:
                with self.once(path, JSON, params) as response:
                    return response.status_code, read_json(response)
            except Busy as busy:
                self.rest(tried, busy)
            except ValueError:
                raise self.fail("the answer is not DICOM JSON", do="check the address") from None
        raise AssertionError  # rest() raises after the last try

    def rest(self, tried: int, busy: Busy, what: str = "") -> None:
        """Wait before the next try.

        Raises:
            ClaimedMedError: That was the last try.
        """
        self._check_time()
        if tried >= self.patience.attempts:
            told = "; ".join(text for text in (busy.what, what) if text)
            do = "see whether the archive runs and run again: what is done is not done twice"
            raise self.fail(told, got=f"{tried} tries", do=do) from None
        time.sleep(self.patience.wait_s(tried, busy.asked_s))

    def counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The same chunks, as long as they are not too many.

        Raises:
            TooMuch: They are.
        """
        most = self.patience.most_bytes
        for chunk in chunks:
            self._n_bytes += len(chunk)
            if most and self._n_bytes > most:
                raise TooMuch(_WHERE, "the archive sends more than is taken", allowed=f"{most >> 20} MiB")
            yield chunk

    def _check_time(self) -> None:
        if self._deadline.is_over:
            raise self.fail("the archive takes too long", allowed=f"{self.patience.whole_s:.0f} s") from None

    def fail(self, what: str, *, got: object = None, allowed: str = "", do: str = "") -> ClaimedMedError:
        """An error of the class that this transport raises."""
        return self.error(_WHERE, what, got=got, allowed=allowed, do=do)

    def _send(self, path: str, accept: str, params: Mapping[str, str] | None, body: Body | None) -> requests.Response:
        address = f"{self.url}/{path}"
        headers = {"Accept": accept} | ({"Content-Type": body.content_type} if body is not None else {})
        timeout = (self.patience.connect_s, self.patience.read_s)
        for _ in range(_MOST_REDIRECTS):
            response = self._session.request(
                "GET" if body is None else "POST",
                address,
                params=params,
                data=body,
                headers=headers,
                timeout=timeout,
                stream=True,
                allow_redirects=False,
            )
            if response.status_code not in _REDIRECTS:
                return response
            response.close()
            target = urljoin(response.url, response.headers.get("Location", ""))
            if _origin(target) != _origin(self.url):
                raise self.fail("the archive redirects to another server", do="name that one, if you trust it")
            if body is not None and response.status_code not in _SAME_METHOD:
                raise self.fail("the archive redirects what is to be stored", got=f"HTTP status {response.status_code}")
            address, params = target, None
        raise self.fail("the archive redirects in circles", got=f"{_MOST_REDIRECTS} redirects")


def read_json(response: requests.Response) -> Any:
    """The JSON document of an answer, None when it is empty.

    Raises:
        ValueError: It is no JSON, or larger than 256 MiB.
    """
    content = bytearray()
    for chunk in response.iter_content(CHUNK):
        content += chunk
        if len(content) > _LARGEST_JSON:
            raise ValueError
    return json.loads(content) if content.strip() else None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", None, None


def _asked_s(response: requests.Response) -> float:
    """What Retry-After says [s]: a number, or a date."""
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
