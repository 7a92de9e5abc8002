"""What `DATA` may be: folders, manifests, archives, MedMNIST files and the demonstration."""
