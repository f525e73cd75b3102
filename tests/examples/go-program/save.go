// Saves two generations of a document. `save unsynced` leaves the barriers out. Go calls the
// kernel itself, from threads of its own.
package main

import (
	"fmt"
	"os"
	"strings"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func save(text string, synced bool) {
	file, err := os.Create("document.tmp")
	must(err)
	_, err = file.WriteString(text)
	must(err)
	if synced {
		must(file.Sync())
	}
	must(file.Close())
	must(os.Rename("document.tmp", "document"))
	if synced {
		directory, err := os.Open(".")
		must(err)
		must(directory.Sync())
		must(directory.Close())
	}
}

func main() {
	for _, generation := range []string{"A", "B"} {
		save(strings.Repeat(generation, 3000), len(os.Args) < 2)
		fmt.Print(generation)
	}
}
