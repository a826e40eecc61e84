from __future__ import annotations

import pytest

import claimed_med as cm
from claimed_med.testing.servers import free_port


def test_a_node_that_answers_and_one_that_does_not_are_both_results(archive_server):
    here = f"{archive_server.aet}@127.0.0.1:{archive_server.dicom_port}"
    assert cm.echo_node(node=here).load() == {"answers": True, "finding": "", "permanent": False}
    nobody = cm.echo_node(node=f"NOBODY@127.0.0.1:{free_port()}").load()
    assert (nobody["answers"], nobody["permanent"]) == (False, False)
    assert "no connection" in nobody["finding"]


def test_an_address_that_cannot_be_read_is_refused():
    with pytest.raises(cm.ContractError, match="address"):
        cm.echo_node(node="somewhere")
