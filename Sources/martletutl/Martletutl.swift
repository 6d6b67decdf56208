import ArgumentParser

@main
struct Martletutl: ParsableCommand {}
