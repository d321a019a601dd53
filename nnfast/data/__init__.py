"""Data sets, augmentation and the loader; light to import: Pillow, pooch and tqdm wait until they are needed."""

from nnfast.data import transforms
from nnfast.data.cifar import cifar10, cifar100
from nnfast.data.collate import default_collate
from nnfast.data.dataset import ArrayDataset, Dataset, ImageDataset, TensorDataset
from nnfast.data.digits import digits
from nnfast.data.download import download
from nnfast.data.idx import FASHION_MNIST_CLASSES, mnist, read_idx
from nnfast.data.images import image_folders
from nnfast.data.loader import DataLoader
from nnfast.data.npz import read_npz
from nnfast.data.open import open_dataset
from nnfast.data.subset import ConcatDataset, Subset, random_split

__all__ = [
    "FASHION_MNIST_CLASSES",
    "ArrayDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "ImageDataset",
    "Subset",
    "TensorDataset",
    "cifar10",
    "cifar100",
    "default_collate",
    "digits",
    "download",
    "image_folders",
    "mnist",
    "open_dataset",
    "random_split",
    "read_idx",
    "read_npz",
    "transforms",
]
