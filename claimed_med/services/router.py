"""The router: what comes in is kept, judged by rules, worked on, and brought to its destinations; nothing is lost.

Objects are durable before the sender hears of success (`incoming.Store`). All else follows from the files and the state
file, so the router may be killed at any moment: after a start, files that were not taken down yet are found, and what
was running goes on. Logs tell of UIDs, counts and states only.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import queue
import shutil
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any

from claimed_med.dicom.header import NotReadable, open_instance, text
from claimed_med.errors import ClaimedMedError, ContractError, InputError, RefusedError
from claimed_med.execute import explain
from claimed_med.payload import PARTIAL
from claimed_med.services.incoming import Received, Store
from claimed_med.services.router_delivery import Outgoing, Undelivered, deliver, outgoing
from claimed_med.services.router_run import RunFailed, make_input, results, run
from claimed_med.services.router_state import Arrival, State, Study, StudyState
from claimed_med.services.router_study import Verdict, judge, series_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from claimed_med.services.router_rules import RouteRule, RuleBook

STATE, RECEIVED, RUNS, LOCK = "state.sqlite", "received", "runs", "router.lock"
_TICK_S = 0.2
_MOST_AT_ONCE = 2000
_NEVER = 1e12  # s since 1970
_CLEAR_EVERY_S, _DAY_S = 600.0, 86400.0
_BECAUSE_OF_DATA = frozenset({InputError.exit_code, RefusedError.exit_code})
_log = logging.getLogger(__name__)


class Router:
    """Routes studies.

    Args:
        book: The rules.
        home: Folder for objects, runs and state; when it is made here, only this user can read it.

    Raises:
        InputError: Another router works in this folder, or its state file cannot be used.
    """

    def __init__(self, book: RuleBook, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)  # it will hold patients' objects
        self.book, self.home = book, home.resolve()
        self._lock = _locked(self.home / LOCK)
        try:
            self.store = Store(self.home / RECEIVED)
            self.state = State(self.home / STATE)
        except BaseException:
            self._lock.close()
            raise
        self._rules = {one.name: one for one in book.rules}
        self._arrived: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._stop, self._wake = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(book.work.workers, "study")
        self._busy: dict[str, Future[None]] = {}
        self._started_at = time.time()
        self._looked_at: dict[str, float] = {}
        self._soonest_s = min(one.complete.quiet_s for one in book.rules)
        self._clear_at = self._started_at
        self._thread = threading.Thread(target=self._work, name="router", daemon=True)

    def kept(self, received: Received) -> None:
        """Take down an object that is durable; for the receiver, from any thread."""
        uids = (received.study_uid, received.series_uid, received.sop_uid)
        self._arrived.put(Arrival(*uids, received.path.name, received.repeated))

    def start(self) -> None:
        """Take up what was there before, then work in the background."""
        for left in (self.home / RUNS).glob(f"*/*/{PARTIAL}*"):  # of a router that was killed
            shutil.rmtree(left)
        n_found = self._find_untold()
        n_taken = len(self.state.take_up())
        _log.info("started untold_objects=%d interrupted_studies=%d", n_found, n_taken)
        self._thread.start()

    def stop(self) -> None:
        """Stop cleanly: runs are stopped, batches on their way are finished, everything is taken down."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown(wait=True)
        try:
            self._take_down()
        finally:
            self.state.close()
            self._lock.close()

    def _find_untold(self) -> int:
        """Take down files that a router which was killed had kept, but not taken down."""
        known = self.state.known_names()
        found: list[Arrival] = []
        for folder in sorted(one for one in self.store.folder.glob("[!.]*") if one.is_dir()):
            names = known.get(folder.name, set())
            found += [_arrival(path) for path in sorted(folder.glob("[!.]*.dcm")) if path.name not in names]
        if found:
            self.state.note(found)
        return len(found)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self._take_down()
                self._judge_all()
                self._hand_out()
                self._clear_out()
            except Exception as error:  # noqa: BLE001 - the router goes on; what failed is tried again
                _log.error("%s", explain(error, "route")["text"])
                self._stop.wait(1.0)
            self._wake.wait(_TICK_S)
            self._wake.clear()

    def _take_down(self) -> None:
        arrivals: list[Arrival] = []
        with contextlib.suppress(queue.Empty):
            while len(arrivals) < _MOST_AT_ONCE:
                arrivals.append(self._arrived.get_nowait())
        if arrivals:
            try:
                self.state.note(arrivals)
            except BaseException:
                for one in arrivals:  # they stay in line; after a kill the files tell of them
                    self._arrived.put(one)
                raise

    # judging

    def _judge_all(self) -> None:
        now = time.time()
        for study in self.state.studies("received"):
            if self._is_due(study, now):
                self._looked_at[study.study_uid] = study.last_at
                try:
                    self._judge(study, now)
                except Exception as error:  # noqa: BLE001 - one study must not keep the others waiting
                    self._looked_at.pop(study.study_uid)
                    _log.error("study=%s %s", study.study_uid, explain(error, "route")["text"])

    def _is_due(self, study: Study, now: float) -> bool:
        """Whether to judge a study now: something new came, or a time that matters is over."""
        if now < self._quiet_since(study) + self._soonest_s:
            return False
        return now >= study.next_at or self._looked_at.get(study.study_uid) != study.last_at

    def _quiet_since(self, study: Study) -> float:
        """Since when nothing came; while the router was down, nothing could."""
        return max(study.last_at, self._started_at)

    def _judge(self, study: Study, now: float) -> None:
        files = self.files_of(study)
        verdict = judge(series_of(files), self.book.rules)
        if verdict.rule is None:
            self._without_rule(study, verdict, now)
            return
        rule, complete = verdict.rule, verdict.rule.complete
        quiet_s = now - self._quiet_since(study)
        if not verdict.missing:
            if quiet_s >= complete.quiet_s:
                self._move(study, "complete", rule=rule.name)
            else:
                self._wait(study, rule.name, f"quiet for {complete.quiet_s:g} s is wanted", complete.quiet_s)
            return
        words = f"these series are missing: {'; '.join(verdict.missing)}"
        if quiet_s < complete.patience_s:
            self._wait(study, rule.name, words, complete.patience_s)
        elif complete.on_incomplete == "process":
            self._move(study, "complete", f"processed incomplete: {words}", rule=rule.name)
        elif complete.on_incomplete == "discard":
            self._move(study, "quarantined", f"discarded as incomplete: {words}", rule=rule.name)
        else:
            self._wait(study, rule.name, f"{words}; waits for as long as it takes", float("inf"))

    def _without_rule(self, study: Study, verdict: Verdict, now: float) -> None:
        """A study may fall under a rule when more of it is here, so it gets the longest quiet time of all rules."""
        longest = max(one.complete.quiet_s for one in self.book.rules)
        if now - self._quiet_since(study) >= longest:
            self._move(study, "quarantined", f"no rule matches: {verdict.words}", rule="")
        else:
            self._wait(study, "", "no rule matches yet", longest)

    def _wait(self, study: Study, rule: str, words: str, wait_s: float) -> None:
        self.state.explain(study, rule, words, min(self._quiet_since(study) + wait_s, _NEVER))

    def _move(self, study: Study, state: StudyState, words: str = "", **changes: Any) -> bool:
        moved = self.state.move(study, state, words, **changes)
        if moved:
            why = words and f" why={words}"
            _log.info("study=%s version=%d state=%s%s", study.study_uid, study.version, state, why)
        return moved

    def files_of(self, study: Study) -> dict[str, list[Path]]:
        """SeriesInstanceUID -> files, of the objects that belong to this version of a study."""
        folder = self.store.folder / study.study_uid
        return {uid: [folder / name for name in names] for uid, names in self.state.objects(study).items()}

    # work

    def _hand_out(self) -> None:
        self._busy = {uid: one for uid, one in self._busy.items() if not one.done()}
        for study in self.state.studies("running"):
            if study.study_uid not in self._busy:
                self._move(study, "complete", "its outcome could not be written; once more")
        now = time.time()
        for study in self.state.studies("complete"):
            if len(self._busy) >= self.book.work.workers:
                return
            if study.study_uid not in self._busy and now >= study.next_at and self._move(study, "running"):
                running = self.state.study(study.study_uid)
                if running is not None:
                    self._busy[study.study_uid] = self._pool.submit(self._process, running)
                    self._busy[study.study_uid].add_done_callback(lambda _: self._wake.set())

    def _process(self, study: Study) -> None:
        """Work on one study; every outcome becomes a state.

        When not even that can be written, `_hand_out` takes the study up again.
        """
        try:
            n_there = self._route(study, self._rule_of(study))
        except (Undelivered, RunFailed, ClaimedMedError, OSError) as error:
            self._give_up_or_wait(study, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the study must have a visible state
            self._give_up_or_wait(study, RunFailed(explain(error, "route")["text"]))
        else:
            self._move(study, "stored", f"{n_there} objects are at their destinations")

    def _rule_of(self, study: Study) -> RouteRule:
        rule = self._rules.get(study.rule)
        if rule is None:
            raise RunFailed(f"the rule {study.rule} is no longer in the file", ContractError.exit_code)
        return rule

    def _route(self, study: Study, rule: RouteRule) -> int:
        """Forward, run, deliver; how many objects are at how many destinations, in all."""
        files = [path for paths in self.files_of(study).values() for path in paths]
        objects = outgoing(files)
        n_there = self._deliver(study, rule.forward, objects)
        if len(objects) < len(files):
            what = f"{len(files) - len(objects)} received objects cannot be read"
            raise RunFailed(what, InputError.exit_code)
        if not rule.runs:
            return n_there
        place = self.home / RUNS / study.study_uid / f"v{study.version}"
        make_input(files, place / "input")
        run(rule, study.study_uid, place / "input", place / "run", self._stop.is_set)
        found = outgoing(results(rule, place / "run"))
        if rule.results and not found:
            raise RunFailed("the run made no result of those that `take` names", InputError.exit_code)
        return n_there + self._deliver(study, rule.results, found)

    def _deliver(self, study: Study, names: tuple[str, ...], objects: list[Outgoing]) -> int:
        """Bring objects to all destinations; one that does not answer does not keep the others waiting."""
        faults: list[str] = []
        refused: list[bool] = []
        for name in names:
            try:
                deliver(self.state, study.study_uid, self.book.destinations[name], objects, self._stop.is_set)
            except (Undelivered, ClaimedMedError) as error:
                faults.append(f"{name}: {getattr(error, 'what', error)}")
                refused.append(getattr(error, "refused", False))
        if faults:
            raise Undelivered("; ".join(faults), refused=all(refused))
        return len(objects) * len(names)

    def _give_up_or_wait(self, study: Study, error: Exception) -> None:
        if self._stop.is_set():
            return  # it stays in state running, and goes on after the next start
        words = type(error).__name__ if isinstance(error, OSError) else str(error)
        is_no = isinstance(error, RunFailed) or getattr(error, "refused", False)
        tries, refusals, work = study.tries + 1, study.refusals + is_no, self.book.work
        counts = {"tries": tries, "refusals": refusals}
        if getattr(error, "code", getattr(error, "exit_code", 0)) in _BECAUSE_OF_DATA:
            self._move(study, "quarantined", words, **counts)
        elif tries >= work.attempts or refusals >= work.refusals or getattr(error, "is_final", False):
            self._move(study, "failed", f"{words} (try {tries})", **counts)
        else:
            pause_s = work.pause_s(tries)
            told = f"try {tries}: {words}; next in {pause_s:g} s"
            self._move(study, "complete", told, **counts, next_at=time.time() + pause_s)

    def _clear_out(self) -> None:
        """Remove objects and runs of studies that were stored long ago; what became of them stays known."""
        now, keep_days = time.time(), self.book.work.keep_days
        if not keep_days or now < self._clear_at:
            return
        self._clear_at = now + _CLEAR_EVERY_S
        for study in self.state.studies("stored"):
            if study.changed_at < now - keep_days * _DAY_S:
                self._clear(study)

    def _clear(self, study: Study) -> None:
        """Remove the objects of a study one by one: another one may just have come in, and it must stay."""
        for paths in self.files_of(study).values():
            for path in paths:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            (self.store.folder / study.study_uid).rmdir()
        shutil.rmtree(self.home / RUNS / study.study_uid, ignore_errors=True)


def _arrival(path: Path) -> Arrival:
    """An object that lies in the store: its study is the folder, the rest stands in its header."""
    try:
        header = open_instance(path).dataset
    except NotReadable:
        return Arrival(path.parent.name, "", path.stem, path.name)
    sop_uid, series_uid = text(header, "SOPInstanceUID"), text(header, "SeriesInstanceUID")
    return Arrival(path.parent.name, series_uid, sop_uid, path.name)


def _locked(path: Path) -> IO[bytes]:
    """Hold a lock for as long as this process lives.

    Raises:
        InputError: Another process holds it.
    """
    stream = path.open("ab")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise InputError("route", "another router works in this folder", do="stop it, or use another --home") from None
    return stream


@contextlib.contextmanager
def running(router: Router) -> Iterator[Router]:
    """Run a router for the time of the block."""
    router.start()
    try:
        yield router
    finally:
        router.stop()
