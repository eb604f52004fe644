/* Replays a corpus directory through a fuzz target, one TAP line a file: what the fuzzer found once stays found. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
replay(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data;
	long size;
	size_t got;

	if (f == NULL || fseek(f, 0, SEEK_END) != 0)
		return -1;
	size = ftell(f);
	rewind(f);
	data = malloc((size_t)size + 1);
	got = data == NULL ? 0 : fread(data, 1, (size_t)size, f);
	(void)fclose(f);
	if (data == NULL || got != (size_t)size)
		return -1;
	(void)LLVMFuzzerTestOneInput(data, got);
	free(data);
	return 0;
}

int
main(int argc, char **argv)
{
	struct dirent **names;
	int n, done = 0;
	char path[4096];

	if (argc != 2 || (n = scandir(argv[1], &names, NULL, alphasort)) < 0)
		return 2;
	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			(void)snprintf(path, sizeof(path), "%s/%s", argv[1], names[i]->d_name);
			done++;
			printf("%s %d - %s\n", replay(path) == 0 ? "ok" : "not ok", done,
				names[i]->d_name);
			(void)fflush(stdout);
		}
		free(names[i]);
	}
	free(names);
	printf("1..%d\n", done);
	return done > 0 ? 0 : 1; /* an empty corpus proves nothing */
}
