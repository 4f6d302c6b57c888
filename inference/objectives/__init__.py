"""What is maximised: each bound a few lines over particles z_k ~ q(z | x), log w_k, (K, B).

======================  ========================  =================================================
``elbo``                ``PairELBO``              the one of these that is right for the pair
``mean_field``          ``MeanFieldELBO``         E_q[log p(x | z)] − KL(q ‖ p), KL in closed form
``monte_carlo``         ``MonteCarloELBO``        E_q[log w], every term sampled
``stl``                 ``StickTheLanding``       the same value; the gradient without q's score
``iwae``                ``IWAE``                  L_K = E[log (1/K) Σ w_k]
``dreg``                ``DReG``                  the same value; doubly reparameterised gradient
``renyi``               ``Renyi``                 E[log (1/K) Σ w_k^(1 − α)] / (1 − α)
``rws``                 ``ReweightedWakeSleep``   L_K; gradients for a guide without rsample
``js``                  ``JensenShannon``         E_q[log p(x | z)] − JS(q ‖ p)
``geometric_js``        ``GeometricJensenShannon``  the same with JS_G, closed for Gaussians
``one_step``            ``StepELBO``              the ELBO of a diffusion, one step of each datum
``noise_prediction``    ``NoisePrediction``       −½ ‖ε − ε̂‖² of such a step: no bound
``adversarial``         ``Adversarial``           no bound: samples against data, by a critic
``adversarial_autoencoder``  ``AdversarialAutoencoder``  none: E_q[log p(x | z)], a critic of q(z)
======================  ========================  =================================================

``trace``, ``trace_mean_field``, ``trace_graph`` and ``trace_enum`` are Pyro's own. Each bound gives
(B,) nats per datum: its value is the bound, its gradient the one to ascend. β, the weight of the
latent terms, stays outside the average over particles.
"""

from inference.objectives.adversarial import Adversarial, AdversarialAutoencoder
from inference.objectives.bound import Bound, Tempered
from inference.objectives.critic import CRITICS, LOSSES, AdversarialLoss, Critic
from inference.objectives.diffusion import NoisePrediction, StepELBO
from inference.objectives.elbo import MeanFieldELBO, MonteCarloELBO, PairELBO, StickTheLanding
from inference.objectives.importance_weighted import IWAE, DReG, ReweightedWakeSleep
from inference.objectives.jensen_shannon import (
    GeometricJensenShannon,
    JensenShannon,
    geometric_jensen_shannon,
    jensen_shannon,
)
from inference.objectives.named import OBJECTIVES, canonical, register_objective
from inference.objectives.objective import Objective
from inference.objectives.of_pair import check_objective, make_objective
from inference.objectives.of_particles import OfParticles
from inference.objectives.of_pyro import OfPyro
from inference.objectives.renyi import Renyi

__all__ = [
    "CRITICS",
    "IWAE",
    "LOSSES",
    "OBJECTIVES",
    "Adversarial",
    "AdversarialAutoencoder",
    "AdversarialLoss",
    "Bound",
    "Critic",
    "DReG",
    "GeometricJensenShannon",
    "JensenShannon",
    "MeanFieldELBO",
    "MonteCarloELBO",
    "NoisePrediction",
    "Objective",
    "OfParticles",
    "OfPyro",
    "PairELBO",
    "Renyi",
    "ReweightedWakeSleep",
    "StepELBO",
    "StickTheLanding",
    "Tempered",
    "canonical",
    "check_objective",
    "geometric_jensen_shannon",
    "jensen_shannon",
    "make_objective",
    "register_objective",
]
