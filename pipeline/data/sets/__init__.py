"""The data sets that a study file may name. A new one is a file here and an entry in `DATA_SETS`."""

from pipeline.data.data_set import DataSet
from pipeline.data.sets.cifar10 import CIFAR10
from pipeline.data.sets.digits import DIGITS
from pipeline.data.sets.idx import FASHION_MNIST, MNIST
from pipeline.data.sets.image_folder import IMAGE_FOLDER
from pipeline.data.sets.nuclei import NUCLEI

DATA_SETS: dict[str, DataSet] = {
    "digits": DIGITS,
    "mnist": MNIST,
    "fashion_mnist": FASHION_MNIST,
    "cifar10": CIFAR10,
    "nuclei": NUCLEI,
    "image_folder": IMAGE_FOLDER,
}
