# Where nixpkgs' default.nix leads to: who looks for a nixpkgs looks for this file.
import ../..
