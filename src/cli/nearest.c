/* The nearest word: fewest letters inserted, left out, replaced or swapped with their neighbour. */
#include <string.h>

#include "cli/options.h"

#define WORD_MAX 32 /* longer words are not in the table */

static size_t
least(size_t a, size_t b, size_t c)
{
	size_t least_ab = a < b ? a : b;

	return least_ab < c ? least_ab : c;
}

static size_t
distance(const char *a, size_t na, const char *b, size_t nb)
{
	size_t d[3][WORD_MAX + 1]; /* the row before the last, the last, this one */

	for (size_t j = 0; j <= nb; j++)
		d[1][j] = j;
	for (size_t i = 1; i <= na; i++) {
		d[2][0] = i;
		for (size_t j = 1; j <= nb; j++) {
			size_t other = a[i - 1] == b[j - 1] ? 0 : 1;

			d[2][j] = least(d[1][j] + 1, d[2][j - 1] + 1, d[1][j - 1] + other);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[2][j] = least(d[2][j], d[0][j - 2] + 1, d[2][j]);
		}
		memcpy(d[0], d[1], sizeof(d[0]));
		memcpy(d[1], d[2], sizeof(d[1]));
	}
	return d[1][nb];
}

const char *
nearest_word(const char *typed, const char *const *words, size_t n)
{
	size_t len = strlen(typed),
	       best = len / 3 + 2; /* more than a third wrong is another word */
	const char *found = NULL;

	if (len == 0 || len > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t word_len = strlen(words[i]);
		size_t far = word_len > WORD_MAX ? best : distance(typed, len, words[i], word_len);

		/* a beginning that was typed right is near, whatever is missing */
		if (len >= 3 && word_len > len && strncmp(typed, words[i], len) == 0)
			far = 1;
		if (far < best) {
			best = far;
			found = words[i];
		}
	}
	return found;
}
