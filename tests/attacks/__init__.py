"""Attacks, and that they fail: a coordinator or a site that cheats, against real sites in a federation in memory.

Each test says the attack and what stops it; the letters are those of the review after which the protocol was written.

======  ============================================================  ==========================================
A1      puppets and swapped keys on the roster, in a key epoch        ``test_puppets``, ``test_keys``
A2      different cohorts, models, scales told to different sites     ``test_different_views``
A2      an aggregate that was altered, repeated, made up              ``test_tampered_sums``
A3      saturation, feedback and scale that undo the noise            ``test_feedback``
B1      a void round repeated without one site                        ``test_several_sums``
B2      sum minus one over attempts, two releases                     ``test_several_sums``, ``test_openable_sums``
B2      an agent that was rolled back                                 ``test_rolled_back_agents``
B2      a lone ciphertext to a colluder                               ``test_lone_updates``
B5      a site that missed a round is shut out, or led astray         ``test_tampered_sums``
C3      a decryption oracle                                           ``test_tampered_sums``, ``test_keys``
C4      old epochs, two study keys, a lead of one's choice            ``test_keys``
--      planted study keys, grants that do not open, false claims     ``test_keys``
C5      vandalism: nonsense, wrong seeds, withheld releases           ``test_vandals``
--      blocks that left before their header, which never comes       ``test_begun_attempts``
--      one view sealed again and again                               ``test_sealed_once``
--      replay, also from another study                               ``test_replays``
--      a study in the clear passed off as sealed                     ``test_open_studies``
--      replies of garbage at every step, a reply that kills          ``test_garbage_replies``
--      a refusal too long or too odd to be written down              ``test_long_refusals``
======  ============================================================  ==========================================

What no protocol of sums stops (poisoning, trap weights, differences across rounds) is in ``docs/threat-model.md``.
"""
