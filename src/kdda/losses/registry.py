"""Every objective that a recipe can name, with one signature: `OBJECTIVES[name](student, teacher, settings)`."""

from kdda.losses.exact import emd, sliced
from kdda.losses.gromov import gromov
from kdda.losses.kernels import energy, mmd_gaussian
from kdda.losses.logits import kd_logits
from kdda.losses.pooled import cka, cosine_pooled, mse_pooled
from kdda.losses.representations import Objective
from kdda.losses.sinkhorn import entropic, sinkhorn, sinkhorn_aaai22

OBJECTIVES: dict[str, Objective] = {
    "sinkhorn": sinkhorn,
    "entropic": entropic,
    "emd": emd,
    "sliced": sliced,
    "mmd-gaussian": mmd_gaussian,
    "energy": energy,
    "gromov": gromov,
    "cka": cka,
    "mse-pooled": mse_pooled,
    "cosine-pooled": cosine_pooled,
    "kd-logits": kd_logits,
    "sinkhorn-aaai22": sinkhorn_aaai22,
}
