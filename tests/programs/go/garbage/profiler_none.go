//go:build !profile

package main

func dump(string) {}
