import ArgumentParser

@main
struct Martletctl: ParsableCommand {}
