"""The functions behind `import ood_fashion`: each command of the command line is one of them."""
