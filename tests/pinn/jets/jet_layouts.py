"""Layouts of every kind, for tests that hold over all of them."""

from pinn.jets.layout import JetLayout

LAYOUTS = {
    "value": JetLayout("xt"),
    "first": JetLayout("xt", ["x", "t"]),
    "burgers": JetLayout("xt", ["xx", "t"]),
    "mixed second": JetLayout("xt", ["xx", "xt", "tt"]),
    "third": JetLayout("xt", ["xxx", "t"]),
    "fourth": JetLayout("xt", ["xxxx", "t"]),
    "mixed fourth": JetLayout("xt", ["xxtt", "xxxt", "tttt"]),
    "laplacian": JetLayout("xt", ["t"], laplacian="x"),
    "laplacian of two": JetLayout("xt", [], laplacian="xt"),
    "laplacian and thirds": JetLayout("xt", ["xxt"], laplacian="xt"),
}
