/* A backup of standard input or of a command's output: one file, no directory of the machine is looked at. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/path.h"
#include "engine/backup_internal.h"
#include "os/io.h"

/* A wait that is interrupted this often makes no progress. */
#define COMMAND_INTERRUPTED_MAX 1000
/* Questions to end, a second apart, before a command is ended by force. */
#define COMMAND_PATIENCE        3

static enum ecode
put_dir_around(struct backup *b, struct node *inner, const struct instant *when, struct slice name,
	struct id *tree, struct err *e)
{
	struct os_ids ids = b->s->os->ids(b->s->os);
	struct worker *w = &b->worker[0];
	struct blob_added added;
	struct tree_writer tw;
	enum ecode rc;

	buf_clear(&w->tree);
	rc = tree_begin(&tw, &w->tree, e);
	if (rc == E_OK)
		rc = tree_put(&tw, inner, e);
	if (rc == E_OK)
		rc = tree_end(&tw, e);
	if (rc != E_OK)
		return rc;
	blob_id(b->s->own, w->tree.p, w->tree.len, tree);
	rc = commit_blob(b->commit, b->s->own, BLOB_TREE, tree, w->tree.p, w->tree.len, &added, e);
	*inner = (struct node){ .name = name,
		.type = NODE_DIR,
		.mode = MODE_DIR | 0755,
		.mtime = *when,
		.atime = *when,
		.ctime = *when,
		.uid = ids.uid,
		.gid = ids.gid,
		.has_subtree = true,
		.subtree = *tree };
	return rc;
}

/* Wrap the file into its directories, innermost first. */
static enum ecode
put_stdin_trees(
	struct backup *b, struct record *rec, const char *path, struct node *node, struct err *e)
{
	size_t end = strlen(path);
	enum ecode rc = E_OK;

	while (rc == E_OK) {
		size_t start = end;

		while (start > 0 && path[start - 1] != '/')
			start--;
		node->name = (struct slice){ (const uint8_t *)path + start, end - start };
		if (start <= 1)
			return put_dir_around(
				b, node, &rec->next.time, node->name, &b->root_tree, e);
		end = start - 1;
		rc = put_dir_around(b, node, &rec->next.time, node->name, &b->root_tree, e);
	}
	return rc;
}

/*
 * A command whose output nobody wants any more is asked to end, and made to
 * when it does not: the signal that stopped us comes again every second
 * (cli/signals) and wakes this wait.
 */
static int
await_command(struct backup *b, int pid, bool unwanted)
{
	const struct listener *l = b->s->listener;
	const struct os *os = b->s->os;
	int status = -EINTR;

	for (unsigned i = 0; status == -EINTR && i < COMMAND_INTERRUPTED_MAX; i++) {
		if (unwanted || l->stop(l->arg))
			(void)os->kill(os, pid, i < COMMAND_PATIENCE ? SIGTERM : SIGKILL);
		status = os->wait(os, pid);
	}
	return status;
}

static enum ecode
stdin_content(struct backup *b, struct record *rec, struct node *node, struct err *e)
{
	const struct os *os = b->s->os;
	int pid = -1, fd = b->args->stdin_fd, status;
	enum ecode rc;

	if (b->args->stdin_command == NULL)
		return stream_store(b, fd, &rec->arena, node, e);
	fd = os->spawn(os, b->args->stdin_command, b->args->stdin_env, &pid);
	if (fd < 0)
		return err_set(e, E_STDIN_COMMAND, -fd, "%s could not be started",
			b->args->stdin_command[0]);
	rc = stream_store(b, fd, &rec->arena, node, e);
	io_close(os, &fd);
	status = await_command(b, pid, rc != E_OK);
	if (rc == E_OK)
		rc = session_go_on(b->s, e);
	if (rc == E_OK && status != 0)
		rc = err_set(e, E_STDIN_COMMAND, 0, "%s ended with %s %d",
			b->args->stdin_command[0], status > 255 ? "signal" : "status",
			status > 255 ? status - 256 : status);
	return rc;
}

enum ecode
run_stdin(struct backup *b, struct record *rec, struct err *e)
{
	const struct instant *when = &rec->next.time;
	struct os_ids ids = b->s->os->ids(b->s->os);
	struct node node = { .type = NODE_FILE,
		.mode = 0644,
		.mtime = *when,
		.atime = *when,
		.ctime = *when,
		.uid = ids.uid,
		.gid = ids.gid };
	enum ecode rc = stdin_content(b, rec, &node, e);

	if (rc != E_OK)
		return rc;
	atomic_store(&b->files, 1);
	atomic_store(&b->files_new, 1);
	atomic_store(&b->bytes, node.size);
	rc = put_stdin_trees(b, rec, (const char *)rec->next.paths[0].p, &node, e);
	b->root_done = true;
	return rc;
}

enum ecode
stdin_path(struct backup *b, struct record *rec, struct err *e)
{
	autoclean(buf_done) struct buf clean = buf_limit(PATH_TEXT_MAX);
	const char *joined, *path;
	struct slice *list;
	void *p;
	enum ecode rc = path_join(&rec->arena, "/", b->args->stdin_name, &joined, e);

	if (rc == E_OK)
		rc = path_clean(&clean, joined, strlen(joined), e);
	if (rc == E_OK && clean.len < 2)
		rc = err_set(
			e, E_SRC_NONE, 0, "\"%s\" is not a name for a file", b->args->stdin_name);
	if (rc == E_OK)
		rc = arena_str(&rec->arena, clean.p, clean.len, &path, e);
	if (rc == E_OK)
		rc = arena_alloc(&rec->arena, sizeof(*list), &p, e);
	if (rc != E_OK)
		return rc;
	list = p;
	*list = (struct slice){ (const uint8_t *)path, strlen(path) };
	rec->next.paths = list;
	rec->next.path_count = 1;
	return E_OK;
}
